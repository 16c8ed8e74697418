"""MLflow: logs a training as a run, and registers its version as a model.

Errors of MLflow do not end a training. What could not be logged is tried again with the next
epochs and at the end, and is reported if it is still missing then.
"""

import logging
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from itertools import dropwhile
from pathlib import Path
from platform import python_version
from typing import Any, Self
from urllib.parse import urlsplit

from rockstar_contract.contract import Contract
from rockstar_training.config import TrainConfig
from rockstar_training.errors import ConfigError, StoppedError
from rockstar_training.progress import Epoch
from rockstar_training.runs import CONFIG_FILE, CONTRACT_FILE, PREDICTIONS_FILE, REPORT_FILE

# In the folder of the unfinished training, whose next attempt continues the run.
RUN_ID_FILE = "mlflow_run_id"
# Unless the environment has other values: by default MLflow waits many minutes for a server that is
# down, and sends usage data.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
# Seconds between requests, at least, and the share of the time that requests may take.
_SECONDS, _SHARE = 1.0, 0.05
# Older servers reject longer values of parameters; all reject more than 1,000 metrics at once.
_LONGEST, _METRICS = 500, 1000

log = logging.getLogger(__name__)


def require_mlflow() -> None:
    """Check that MLflow is installed, else raise a ConfigError."""
    try:
        version("mlflow-skinny")  # mlflow has it as a part
    except PackageNotFoundError:
        raise ConfigError(
            "mlflow: MLflow is not installed: pip install 'rockstartf[mlflow]'"
        ) from None


class Tracking:
    """A run in MLflow; a context manager that ends the run if its body fails.

    It can be entered several times, one after the other, and is the same run.

    Its experiment is MLFLOW_EXPERIMENT_ID or MLFLOW_EXPERIMENT_NAME, by default "rockstartf".
    """

    def __init__(self, uri: str, config: TrainConfig, folder: Path) -> None:
        """Connect to a tracking server or a database, by default to MLFLOW_TRACKING_URI.

        The folder is that of the unfinished training. Raises a ConfigError if MLflow is not
        installed, or cannot use the URI.
        """
        require_mlflow()
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        import mlflow

        uri = uri or mlflow.get_tracking_uri()
        parts = urlsplit(uri)
        login = parts.netloc.rpartition("@")[0]
        self._place = uri.partition("?")[0].replace(f"{login}@", "", 1)
        self._secrets = [secret for secret in (login, parts.password, parts.query) if secret]
        try:
            self._client = mlflow.MlflowClient(tracking_uri=uri)
        except Exception as error:  # including what drivers of databases raise
            raise ConfigError(
                "mlflow: expected a URI such as http://HOST:5000 or sqlite:///mlflow.db, got "
                f"{self._place!r}: {self._reason(error)}"
            ) from error
        self._config, self._id_file = config, folder / RUN_ID_FILE
        self._run: Any = None
        self._waiting: dict[int, Epoch] = {}  # by number
        self._logged: set[int] = set()
        self._next, self._warned = 0.0, False

    def __enter__(self) -> Self:
        self._attempt(self._start)
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is not None and self._attempt(self._log_epochs):
            status = "KILLED" if isinstance(error, StoppedError) else "FAILED"
            self._attempt(lambda: self._end(status))

    def log(self, epoch: Epoch) -> None:
        """Log an epoch, soon or together with the next ones."""
        self._waiting[epoch.number] = epoch
        started = time.monotonic()
        if started >= self._next:
            self._attempt(self._log_epochs)
            ended = time.monotonic()
            self._next = ended + max(_SECONDS, (ended - started) / _SHARE)

    def finish(
        self, contract: Contract, history: Sequence[Epoch], folder: Path, run: Path, held: str
    ) -> str:
        """Log the result, and register the version; return a sentence that says how it went.

        Folders are those of the published version, and of the record of its run; `held` says why
        the version is not served, "" if it is.
        """
        self._waiting = {each.number: each for each in history if each.number not in self._logged}
        steps: dict[str, Callable[[], None]] = {
            "epochs": self._log_epochs,
            "test metrics": lambda: self._log_metrics({history[-1].number: contract.metrics}),
            "report": lambda: self._log_files(folder, run),
            "model": lambda: self._log_model(contract, folder),
            "registered version": lambda: self._register(contract, held),
            "end of the run": lambda: self._end("FINISHED"),
        }
        missing = [*dropwhile(lambda name: self._attempt(steps[name]), steps)]
        if missing:
            return f"MLflow at {self._place} lacks: {', '.join(missing)}."
        return f"Logged to MLflow at {self._place}: run {self._run.info.run_id}."

    def _attempt(self, action: Callable[[], None]) -> bool:
        """Return whether an action succeeds; warn about the first that does not."""
        try:
            action()
        except Exception as error:  # stores of metrics and files raise what their libraries raise
            if not self._warned:
                log.warning(
                    "Training continues without MLflow at %s: %s", self._place, self._reason(error)
                )
            self._warned = True
            return False
        return True

    def _reason(self, error: BaseException) -> str:
        """Say why something failed, in a line without secrets."""
        cause: BaseException | None = error
        while cause is not None and not (isinstance(cause, OSError) and cause.strerror):
            cause = cause.__cause__ or cause.__context__
        text = " ".join(str(error).split())
        if isinstance(cause, OSError):
            text = ": ".join(str(each) for each in (cause.strerror, cause.filename) if each)
        for secret in self._secrets:
            text = text.replace(secret, "…")
        return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"

    def _start(self) -> None:
        """Create the run, or continue that of an interrupted training, unless it was deleted."""
        from mlflow.entities import Param

        if self._run is not None:
            return
        run, client = self._unfinished(), self._client
        if run is None:
            tags = {"mlflow.source.name": "rockstar train", "mlflow.source.type": "LOCAL"}
            name = self._config.name
            run = client.create_run(self._experiment(), tags=tags, run_name=name)
            self._id_file.write_text(run.info.run_id, encoding="ascii")
        run_id = run.info.run_id
        client.update_run(run_id, status="RUNNING")
        self._logged = {metric.step for metric in client.get_metric_history(run_id, "loss")}
        params = [
            Param(name, str(value)[:_LONGEST])
            for name, value in asdict(self._config).items()
            if value not in (None, (), {})
        ]
        client.log_batch(run_id, params=params)
        self._run = run

    def _unfinished(self) -> Any:
        from mlflow.exceptions import MlflowException

        try:
            run = self._client.get_run(self._id_file.read_text(encoding="ascii"))
        except FileNotFoundError:
            return None
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        return run if run.info.lifecycle_stage == "active" else None

    def _experiment(self) -> str:
        """Return the ID of the experiment, which is created if there is none."""
        if given := os.environ.get("MLFLOW_EXPERIMENT_ID"):
            return given
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "rockstartf"
        found = self._client.get_experiment_by_name(name)
        return str(found.experiment_id if found else self._client.create_experiment(name))

    def _log_epochs(self) -> None:
        self._start()
        waiting = [each for number, each in self._waiting.items() if number not in self._logged]
        self._log_metrics({epoch.number: epoch.metrics for epoch in waiting})
        self._logged |= {epoch.number for epoch in waiting}
        self._waiting.clear()

    def _log_metrics(self, steps: dict[int, dict[str, float]]) -> None:
        """Log metrics by step; numbers that are not finite, which MLflow does not show, are not."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [
            Metric(name, value, now, step)
            for step, values in steps.items()
            for name, value in values.items()
            if math.isfinite(value)
        ]
        for start in range(0, len(metrics), _METRICS):
            self._client.log_batch(self._run.info.run_id, metrics[start : start + _METRICS])

    def _log_files(self, folder: Path, run: Path) -> None:
        from rockstar_training.report.card import CARD_FILE  # loads matplotlib

        record = [run / name for name in (REPORT_FILE, CONFIG_FILE, CONTRACT_FILE)]
        for path in (*record, run / PREDICTIONS_FILE, folder / CARD_FILE):
            self._client.log_artifact(self._run.info.run_id, str(path))

    def _log_model(self, contract: Contract, folder: Path) -> None:
        """Log the folder of the version as a model that mlflow.pyfunc loads."""
        from mlflow.models import Model

        run_id = self._run.info.run_id
        model = Model(artifact_path="model", run_id=run_id)
        # The folder's name is the number of the version, also for one that is held back.
        data = str(contract.version)
        model.add_flavor(
            "python_function",
            loader_module="rockstar_serving.local_model",
            python_version=python_version(),
            data=data,
        )
        self._client.log_artifacts(run_id, str(folder), f"model/{data}")
        self._client.log_text(run_id, "rockstartf[serve]\n", "model/requirements.txt")
        self._client.log_text(run_id, model.to_yaml(), "model/MLmodel")

    def _register(self, contract: Contract, held: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(contract.model)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        info = self._run.info
        tags = {"rockstartf.version": str(contract.version)} | ({"held": held} if held else {})
        self._client.create_model_version(
            contract.model, f"{info.artifact_uri}/model", info.run_id, tags=tags
        )

    def _end(self, status: str) -> None:
        self._client.set_terminated(self._run.info.run_id, status)
