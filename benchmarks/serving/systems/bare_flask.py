"""A bare Flask under gunicorn, with a model and with a constant for an answer."""

from benchmarks.serving.system import Run, System


class BareFlask(System):
    """Decodes, runs the model, answers."""

    name = "flask"
    title = "bare Flask"
    role = "bare"
    settings = "gunicorn, gthread, 2 workers with 4 threads each; one model in each worker"
    peer = "flask"

    def command(self, run: Run) -> list[str]:
        """See System."""
        return _gunicorn(run, "create_app")


class ConstantFlask(System):
    """What Flask and gunicorn alone cost."""

    name = "flask-constant"
    title = "Flask, constant answer"
    role = "yardstick"
    settings = "as bare Flask, without decoding and without a model"
    peer = "flask"
    engines = ("litert",)
    models = ("cnn",)
    kinds = ("png",)

    def command(self, run: Run) -> list[str]:
        """See System."""
        return _gunicorn(run, "create_constant")

    def labels(self, body: bytes) -> list[str]:
        """It looks at nothing, so there is nothing to compare."""
        del body
        return []


def _gunicorn(run: Run, factory: str) -> list[str]:
    return [
        *(str(run.python), "-m", "gunicorn", f"server:{factory}()"),
        *(f"--bind=127.0.0.1:{run.port}", f"--workers={run.workers}"),
        *("--worker-class=gthread", "--threads=4"),
    ]
