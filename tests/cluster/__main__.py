"""`make cluster-test`: run the first section of docs/deploy.md on a cluster in Docker, under load.

Builds the images, creates a kind cluster with Envoy Gateway and metrics-server, and runs the
commands of the section "From nothing to a canary" with the chart of this repository: install,
predict over HTTP and gRPC, push a second version, canary, promote and roll back. Requests are sent
all the time from the promotion on, and none may fail. Then gateways must scale up under load. The
cluster is always removed at the end, even after a failure or Ctrl-C.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue
from types import FrameType
from typing import Any

import grpc
import numpy as np
import yaml

from tests.cluster.clusters import ClusterTestError, cluster, require_programs, run
from tests.grpc_calls import predict_request, stub
from tests.images import digits
from tests.load import Load
from tests.manifests import ROOT
from tests.waiting import until
from tests.walkthrough import CHART, REGISTRY, WALKTHROUGH, commands, file
from tfs_api.services import PREDICT

IMAGES = {"gateway": "gateway", "embedded": "model-server"}
TAG = "cluster-test"
HTTP_HOST, GRPC_HOST = "predict.example.org", "models.example.org"
_METRICS_SERVER = "https://kubernetes-sigs.github.io/metrics-server"
_ENVOY = "envoy-gateway-system"
_SETTLED_S = 120.0
_SCALED_S = 600.0
_FORWARD_TIMEOUT_S = 60.0
_FORWARDING = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")


def main() -> int:
    """Run the test; returns 0 on success."""
    signal.signal(signal.SIGTERM, _interrupt)
    started = time.monotonic()
    try:
        require_programs()
        with tempfile.TemporaryDirectory(prefix="rockstar-cluster-") as name:
            work = Path(name)
            images = _build(work)
            os.environ["KUBECONFIG"] = str(work / "kubeconfig")
            with cluster(images, work / "kubeconfig") as registry:
                write_files(work, registry)
                _test(work, registry)
    except ClusterTestError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped; the cluster is removed.", file=sys.stderr)
        return 130
    print(f"The cluster test passed in {time.monotonic() - started:.0f} s.")
    return 0


def write_files(work: Path, registry: str) -> None:
    """The files of the page, for images of this machine and requests that a laptop can meet."""
    (work / "examples").symlink_to(ROOT / "examples")
    # kind has no load balancers: the Service gets an address in the cluster.
    name, group = "in-the-cluster", "gateway.envoyproxy.io"
    service = {
        "provider": {"type": "Kubernetes", "kubernetes": {"envoyService": {"type": "ClusterIP"}}}
    }
    proxy = {
        "apiVersion": f"{group}/v1alpha1",
        "kind": "EnvoyProxy",
        "metadata": {"name": name, "namespace": _ENVOY},
        "spec": service,
    }
    gateway_class, gateway = yaml.safe_load_all(file("gateway.yaml"))
    gateway["spec"]["infrastructure"] = {
        "parametersRef": {"group": group, "kind": "EnvoyProxy", "name": name}
    }
    (work / "gateway.yaml").write_text(yaml.safe_dump_all([proxy, gateway_class, gateway]))
    values: dict[str, Any] = yaml.safe_load(file("values.yaml").replace(REGISTRY, registry))
    values["images"] = {name: {"tag": TAG} for name in IMAGES}
    for part in ("gateway", "modelServer"):
        values[part] = {"requests": {"cpu": "100m"}}
    (work / "values.yaml").write_text(yaml.safe_dump(values))


def here(command: str, registry: str) -> str:
    """A command of the page, with the chart of this repository and the registry of the test."""
    return command.replace(CHART, str(ROOT / "charts" / "rockstartf")).replace(REGISTRY, registry)


def _test(work: Path, registry: str) -> None:
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    os.chdir(work)
    try:
        metrics = ("install", "metrics-server", "metrics-server", "--repo", _METRICS_SERVER)
        insecure = ("--set", "args={--kubelet-insecure-tls}")
        run("helm", *metrics, "--namespace", "kube-system", *insecure, "--wait")
        steps = commands(WALKTHROUGH)
        for title in list(steps)[:2]:
            for command in steps[title]:
                run("bash", "-euc", here(command, registry))
        install, test, _, curl = steps["3. A service"]
        for command in (install, test):
            run("bash", "-euc", here(command, registry))
        with _forwarded(_envoy()) as address:
            # In place of the address of a load balancer.
            os.environ["ADDRESS"] = address
            run("bash", "-euc", curl)
            _over_grpc(address, registry)
            for command in steps["4. A canary"]:
                run("bash", "-euc", here(command, registry))
            _require_versions(address, {1, 2})
            promote, uninstall, rollback = steps["5. Promote it, or roll back"]
            _under_load(address, here(promote, registry), {1, 2})
            _under_load(address, uninstall, {2})
            _under_load(address, rollback, {1, 2})
            _require_versions(address, {1})
            _scale(address)
    except (ClusterTestError, AssertionError) as error:
        for namespace in ("rockstartf", "rockstartf-canary", _ENVOY):
            run("kubectl", "-n", namespace, "get", "all,events", "--output=wide", check=False)
        for name in ("gateway", "model-server"):
            logs = (
                "kubectl",
                "-n",
                "rockstartf",
                "logs",
                f"--selector=app.kubernetes.io/name={name}",
            )
            run(*logs, "--tail=30", "--prefix", check=False)
        raise ClusterTestError(str(error)) from error


def _build(work: Path) -> list[str]:
    """Train the models of the images briefly, and build the images; returns their names."""
    for model in ("logistic", "mlp", "cnn"):
        train = (sys.executable, "-m", "rockstar_cli", "train", model, "--epochs=1")
        run(*train, f"--workdir={work / 'image'}")
    names = []
    for target in IMAGES.values():
        names.append(f"ghcr.io/rockstartf/{target}:{TAG}")
        models = f"--build-context=models={work / 'image' / 'models'}"
        build = ("docker", "build", f"--file={ROOT / 'Dockerfile.cpu'}", f"--target={target}")
        run(*build, f"--tag={names[-1]}", models, str(ROOT))
    return names


def _envoy() -> str:
    """The Service of the Gateway."""
    of_gateway = "gateway.envoyproxy.io/owning-gateway-name=gateway"
    command = ("kubectl", "-n", _ENVOY, "get", "service", f"--selector={of_gateway}")
    return run(*command, "--output=name", output=True).strip()


def _over_grpc(address: str, registry: str) -> None:
    """Add a GRPCRoute, and predict through it."""
    route = f"enabled=true,hostnames={{{GRPC_HOST}}},parentRefs[0].name=gateway"
    fields = ",".join(f"grpcRoute.{each}" for each in route.split(","))
    fields += f",grpcRoute.parentRefs[0].namespace={_ENVOY}"
    upgrade = f"helm upgrade rockstartf {CHART} --namespace rockstartf --reuse-values --wait"
    run(*here(upgrade, registry).split(), "--set", fields)
    image = np.zeros((1, 20, 20, 1), np.float32)
    with grpc.insecure_channel(address, [("grpc.default_authority", GRPC_HOST)]) as channel:
        predict, request = stub(channel, PREDICT), predict_request("cnn", image=image)

        def answers() -> bool:
            try:
                return bool(predict(request, timeout=10).model_spec.version.value == 1)
            except grpc.RpcError as error:
                print(error, flush=True)
                return False

        until(answers, _SETTLED_S, "a prediction through the GRPCRoute")


def _load(address: str, **options: Any) -> Load:
    images = [image for image, _ in digits(20)]
    return Load([f"http://{address}"], "cnn", images, headers={"Host": HTTP_HOST}, **options)


def _require_versions(address: str, versions: set[int]) -> None:
    """Send a hundred requests; raises ClusterTestError unless these versions respond."""
    with _load(address) as load:
        until(lambda: load.failures or load.answers >= 100, _SETTLED_S, "a hundred predictions")
    if load.failures or set(load.versions) != versions:
        raise ClusterTestError(f"expected versions {versions}: {load.versions} {load.failures[:1]}")


def _under_load(address: str, command: str, versions: set[int]) -> None:
    """Run a command under load, until the pods that it replaces are gone; no request may fail."""
    kubectl = ("kubectl", "-n", "rockstartf")
    servers = "--selector=app.kubernetes.io/name=model-server"
    with _load(address, pause=0.05) as load:
        load.more(_SETTLED_S)
        old = run(*kubectl, "get", "pods", servers, "--output=name", output=True).split()
        run("bash", "-euc", command)
        # Two versions: one replaces the other.
        if len(versions) > 1:
            run(*kubectl, "wait", "--for=delete", *old, "--timeout=300s")
        load.more(_SETTLED_S)
    answered = ", ".join(f"{count} by version {n}" for n, count in sorted(load.versions.items()))
    print(f"Under load: {answered}, {len(load.failures)} failed.", flush=True)
    if load.failures:
        raise ClusterTestError(f"{len(load.failures)} requests failed, first: {load.failures[0]}")
    if set(load.versions) != versions:
        raise ClusterTestError(f"versions {versions} should have responded: {answered}")


def _scale(address: str) -> None:
    """Wait until the HorizontalPodAutoscaler has added a gateway that is ready."""
    command = ("kubectl", "-n", "rockstartf", "get", "deployment", "rockstartf-gateway")
    path = "--output=jsonpath={.status.readyReplicas}"
    with _load(address, callers=32) as load:
        until(lambda: int(run(*command, path, output=True) or 0) > 2, _SCALED_S, "a third gateway")
    print(f"Scaled up under {load.answers} predictions.", flush=True)


@contextmanager
def _forwarded(service: str) -> Iterator[str]:
    """The address of a service for this machine, while the context lasts."""
    command = ["kubectl", "-n", _ENVOY, "port-forward", service, ":80"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    lines: Queue[str] = Queue()
    # Read throughout, because it writes a line for each connection and would block otherwise.
    reader = threading.Thread(target=_read, args=(process, lines))
    reader.start()
    try:
        try:
            found = _FORWARDING.search(lines.get(timeout=_FORWARD_TIMEOUT_S))
        except Empty:
            found = None
        if found is None:
            raise ClusterTestError("kubectl port-forward did not say where it listens")
        yield f"127.0.0.1:{found[1]}"
    finally:
        process.terminate()
        process.wait()
        reader.join()


def _read(process: "subprocess.Popen[str]", lines: "Queue[str]") -> None:
    for line in process.stdout or ():
        lines.put(line)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
