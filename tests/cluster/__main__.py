"""`make cluster-test`: deploy on a cluster in Docker, predict, and roll out a new model version.

Creates a kind or k3d cluster, builds the images, applies the embedded overlay, sends predictions,
then replaces the model servers with ones of version 2 of cnn under load. Every request must
succeed. The cluster is always removed at the end, even after a failure or Ctrl-C.
"""

import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

from tests.cluster.clusters import ClusterTestError, cluster, find_tool
from tests.cluster.images import ROOT, build, model_server, train
from tests.cluster.kubectl import Kubectl
from tests.cluster.predictions import digits, require_right_answers
from tests.load import Load

_ROLLOUT = "--timeout=600s"
_SETTLED_S = 120.0


def main() -> int:
    """Run the test; returns 0 on success."""
    signal.signal(signal.SIGTERM, _interrupt)
    started = time.monotonic()
    try:
        tool = find_tool()
        with tempfile.TemporaryDirectory(prefix="rockstar-cluster-") as name:
            work = Path(name)
            train(work)
            images = build(work)
            config = work / "kubeconfig"
            with cluster(tool, images, config):
                _test(Kubectl(config))
    except ClusterTestError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped; the cluster is removed.", file=sys.stderr)
        return 130
    print(f"The cluster test passed in {time.monotonic() - started:.0f} s.")
    return 0


def _test(kubectl: Kubectl) -> None:
    try:
        kubectl.do("apply", "--kustomize", str(ROOT / "tests" / "cluster" / "overlay"))
        for deployment in ("model-server", "gateway"):
            kubectl.do("rollout", "status", f"deployment/{deployment}", _ROLLOUT)
        with kubectl.forwarded("gateway") as url:
            require_right_answers(url, "cnn", version=1)
            _roll_out(kubectl, url)
            require_right_answers(url, "cnn", version=2)
    except (ClusterTestError, AssertionError) as error:
        kubectl.tell_state()
        raise ClusterTestError(str(error)) from error


def _roll_out(kubectl: Kubectl, url: str) -> None:
    """Replace all model servers under load, and wait until the last old one is gone."""
    old = kubectl.pods("model-server")
    with Load([url], "cnn", [image for image, _ in digits(20)], pause=0.05) as load:
        load.more(_SETTLED_S)
        kubectl.do("set", "image", "deployment/model-server", f"model-server={model_server(2)}")
        kubectl.do("rollout", "status", "deployment/model-server", _ROLLOUT)
        kubectl.do("wait", "--for=delete", *old, "--timeout=300s")
        load.more(_SETTLED_S)
    answered = ", ".join(f"{count} by version {n}" for n, count in sorted(load.versions.items()))
    print(f"Rollout under load: {answered}, {len(load.failures)} failed.", flush=True)
    if load.failures:
        raise ClusterTestError(
            f"{len(load.failures)} requests failed during the rollout, first: {load.failures[0]}"
        )
    if set(load.versions) != {1, 2}:
        raise ClusterTestError(f"versions 1 and 2 should have answered: {answered}")


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
