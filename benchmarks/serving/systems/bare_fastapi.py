"""A bare FastAPI on uvicorn."""

from benchmarks.serving.system import Run, System


class BareFastAPI(System):
    """Decodes, runs the model, answers."""

    name = "fastapi"
    title = "bare FastAPI"
    role = "bare"
    settings = "uvicorn with uvloop and httptools, 2 workers, async handler, orjson, no access log"
    peer = "fastapi"

    def command(self, run: Run) -> list[str]:
        """See System."""
        return [
            *(str(run.python), "-m", "uvicorn", "--factory", "server:create_app"),
            *("--host=127.0.0.1", f"--port={run.port}", f"--workers={run.workers}"),
            *("--loop=uvloop", "--http=httptools", "--no-access-log", "--log-level=warning"),
        ]
