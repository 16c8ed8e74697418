"""MLflow, read back with its own client."""

from contextlib import suppress

import numpy as np
import pytest

import rockstar_serving
from rockstar_contract.contract import Contract
from rockstar_training.config import config_for
from rockstar_training.errors import ConfigError, StoppedError, TrainingError
from rockstar_training.progress import Epoch, summarize
from rockstar_training.tracking import Tracking
from rockstar_training.train import train_and_evaluate
from tests.images import png
from tests.ports import free_ports
from tests.unit.training.small_data import write_shades

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own
CONFIG = config_for("logistic", name="shades", epochs=3)


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture
def client(uri, tmp_path, monkeypatch):
    """MLflow's client, in a folder of its own, as artifacts are written to the current one."""
    mlflow = pytest.importorskip("mlflow")  # not above: each process would import it
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("rockstar_training.tracking._SECONDS", 0)
    monkeypatch.setattr("rockstar_training.tracking._SHARE", 1e9)
    return mlflow.MlflowClient(uri)


def epochs(*numbers):
    return [Epoch(n, 3, loss=1 / n, val_loss=float("nan"), last=n == 3) for n in numbers]


@pytest.mark.slow
def test_a_training_is_logged_and_its_version_registered(client, uri, tmp_path):
    import mlflow

    data = write_shades(tmp_path / "images", 30)
    config = config_for("logistic", name="shades", data=data, epochs=2, image_size=8)
    result = train_and_evaluate(config, tmp_path, mlflow=uri)
    version = client.get_model_version("shades", "1")
    run = client.get_run(version.run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "shades")
    assert client.get_experiment(run.info.experiment_id).name == "rockstartf"
    assert run.data.params.items() >= {"model": "logistic", "epochs": "2", "data": data}.items()
    assert "target" not in run.data.params
    assert run.data.metrics.items() >= result.metrics.items()
    history = client.get_metric_history(version.run_id, "val_loss")
    assert [(each.step, each.value) for each in history] == [
        (epoch.number, epoch.val_loss) for epoch in result.history
    ]
    files = {each.path for each in client.list_artifacts(version.run_id)}
    assert files >= {"report.html", "config.json", "contract.json", "model_card.md", "model"}
    assert version.source == f"{run.info.artifact_uri}/model"
    assert version.tags == {"rockstartf.version": "1"}
    model = mlflow.artifacts.download_artifacts(version.source)
    exported = (result.folder / "saved_model.pb").read_bytes()
    assert (tmp_path / model / "1" / "saved_model.pb").read_bytes() == exported
    pytest.importorskip("pandas")
    mlflow.set_tracking_uri(uri)
    images = [png(np.full((20, 20), level, np.uint8)) for level in (220, 20)]
    answers = mlflow.pyfunc.load_model("models:/shades/1").predict(images)
    assert answers.to_dict("list") == rockstar_serving.load(result.folder).table(images)
    assert answers["version"].tolist() == [1, 1]
    assert f": run {version.run_id}." in " ".join(summarize(result).split())


def test_an_interrupted_training_continues_its_run(client, uri, tmp_path):
    with suppress(StoppedError), Tracking(uri, CONFIG, tmp_path) as tracking:
        for epoch in epochs(1, 2):
            tracking.log(epoch)
        raise StoppedError("Ctrl-C")
    run_id = (tmp_path / "mlflow_run_id").read_text()
    assert client.get_run(run_id).info.status == "KILLED"
    # The last checkpoint is older than the last epoch.
    with Tracking(uri, CONFIG, tmp_path) as tracking:
        assert client.get_run(run_id).info.status == "RUNNING"
        for epoch in epochs(2, 3):
            tracking.log(epoch)
    assert [each.step for each in client.get_metric_history(run_id, "loss")] == [1, 2, 3]
    assert not client.get_metric_history(run_id, "val_loss")
    client.delete_run(run_id)
    with pytest.raises(ValueError, match="broken"), Tracking(uri, CONFIG, tmp_path):
        raise ValueError("broken")
    again = (tmp_path / "mlflow_run_id").read_text()
    assert again != run_id
    assert client.get_run(again).info.status == "FAILED"


@pytest.mark.slow
def test_a_run_whose_report_cannot_be_written_failed(client, uri, tmp_path):
    (tmp_path / "runs" / "blocked-1" / "report.html").mkdir(parents=True)
    data = write_shades(tmp_path / "images", 10)
    config = config_for("logistic", name="blocked", data=data, epochs=1, image_size=8)
    with pytest.raises(TrainingError, match="report"):
        train_and_evaluate(config, tmp_path, mlflow=uri)
    (run,) = client.search_runs(
        [client.get_experiment_by_name("rockstartf").experiment_id],
        "attributes.run_name = 'blocked'",
    )
    assert run.info.status == "FAILED"


def test_a_server_that_is_down_is_one_line_without_secrets(tmp_path, caplog, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    place = f"http://127.0.0.1:{free_ports(1)[0]}"
    contract = Contract.from_json  # not reached
    with Tracking(place.replace("//", "//me:secret@"), CONFIG, tmp_path) as tracking:
        for epoch in epochs(1, 2, 3):
            tracking.log(epoch)
    missing = tracking.finish(contract, epochs(1, 2, 3), tmp_path, tmp_path, "")
    assert missing == (
        f"MLflow at {place} lacks: epochs, test metrics, report, model, registered version, end of "
        "the run."
    )
    assert [each.getMessage() for each in caplog.records] == [
        f"Training continues without MLflow at {place}: Connection refused"
    ]


def test_a_uri_that_cannot_work_is_an_error_before_the_training(tmp_path):
    for uri, why in {
        "ftp://me:secret@host/x": "unsupported URI 'ftp://…@host/x'",
        "mlruns": "maintenance mode",
        "sqlite:////proc/no/mlflow.db": "No such file or directory: /proc/no",
    }.items():
        with pytest.raises(ConfigError, match=r"^mlflow: expected a URI") as error:
            Tracking(uri, CONFIG, tmp_path)
        assert why in str(error.value)
        assert "secret" not in str(error.value)
