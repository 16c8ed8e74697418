"""kubectl on the test's own cluster."""

import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue

from tests.cluster.clusters import ClusterTestError, run

NAMESPACE = "rockstartf"
_FORWARD_TIMEOUT_S = 60.0
_FORWARDING = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")


class Kubectl:
    """kubectl commands in the project's namespace of one cluster."""

    def __init__(self, config: Path) -> None:
        self._command = ["kubectl", f"--kubeconfig={config}", f"--namespace={NAMESPACE}"]

    def do(self, *arguments: str, check: bool = True) -> None:
        """Run a command, and show its output.

        Raises:
            ClusterTestError: it fails, and `check` is set.
        """
        run([*self._command, *arguments], check=check)

    def pods(self, name: str) -> list[str]:
        """The pods of a deployment, as pod/NAME."""
        selector = f"--selector=app.kubernetes.io/name={name}"
        command = [*self._command, "get", "pods", selector, "--output=name"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise ClusterTestError(f"kubectl get pods: {done.stderr.strip()}")
        return done.stdout.split()

    @contextmanager
    def forwarded(self, service: str) -> Iterator[str]:
        """The URL of a service for this machine, while the context lasts.

        Raises:
            ClusterTestError: it is not reachable in time.
        """
        command = [*self._command, "port-forward", f"service/{service}", ":http"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        lines: Queue[str] = Queue()
        # Read throughout, because it writes a line for each connection and would block otherwise.
        reader = threading.Thread(target=_read, args=(process, lines))
        reader.start()
        try:
            yield f"http://127.0.0.1:{_port(lines)}"
        finally:
            process.terminate()
            process.wait()
            reader.join()
            if process.stdout:
                process.stdout.close()

    def tell_state(self) -> None:
        """Show the state of the cluster after a failure."""
        self.do("get", "pods,events", "--output=wide", check=False)
        for deployment in ("gateway", "model-server"):
            selector = f"--selector=app.kubernetes.io/name={deployment}"
            self.do("logs", selector, "--tail=30", "--prefix", check=False)


def _read(process: "subprocess.Popen[str]", lines: "Queue[str]") -> None:
    for line in process.stdout or ():
        lines.put(line)


def _port(lines: "Queue[str]") -> int:
    try:
        found = _FORWARDING.search(lines.get(timeout=_FORWARD_TIMEOUT_S))
    except Empty:
        found = None
    if found is None:
        raise ClusterTestError("kubectl port-forward did not say where it listens")
    return int(found[1])
