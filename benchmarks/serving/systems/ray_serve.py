"""Ray Serve."""

from collections.abc import Mapping

from benchmarks.serving.system import Run, System, peer_variables


class RayServe(System):
    """An image is the body itself, several are a form's files."""

    name = "ray"
    title = "Ray Serve"
    role = "framework"
    settings = (
        "2 replicas, batches of up to 16, waiting at most 2 ms, RAY_SERVE_THROUGHPUT_OPTIMIZED=1"
    )
    peer = "ray"

    def command(self, run: Run) -> list[str]:
        """See System."""
        return [str(run.python), "server.py"]

    def variables(self, run: Run) -> Mapping[str, str]:
        """See System."""
        flags = {
            "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_TMPDIR": str(run.folder),
            # It listens on this machine alone, and would leave a token in the home folder.
            "RAY_AUTH_MODE": "disabled",
        }
        return {**peer_variables(run), **flags}
