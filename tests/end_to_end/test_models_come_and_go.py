"""Changes in a served folder of models: broken, new, moved and removed models, and labels."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from rockstar_client import GrpcClient, HttpClient, InvalidRequestError
from rockstar_contract.contract import Contract, TensorInput, TensorSpec, utc_now
from rockstar_training.export import export
from rockstar_training.tensorflow_setup import tf
from tests.command_line import invoke
from tests.end_to_end.conftest import Service, rockstar
from tests.litert_models import without_a_constant
from tests.model_fixtures import toy_model, write_version
from tests.unit.training.toys import draft, golden, plain_model
from tests.waiting import until

PNG = golden(1).raw[0]


@pytest.fixture(scope="session")
def exported(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    return export(*plain_model(), draft(), golden(), folder).folder


@pytest.fixture
def publish(exported, tmp_path):
    """Publish a version in one step."""

    def publish(model: str, version: int) -> None:
        aside = tmp_path / "models" / model / ".incoming-test"
        shutil.copytree(exported, aside)
        aside.rename(aside.with_name(str(version)))

    return publish


@pytest.fixture
def models(tmp_path, publish):
    publish("good", 1)
    return tmp_path / "models"


def predict(service: Service, model: str) -> requests.Response:
    url = f"{service.http}/predict/{model}"
    return requests.post(url, data=PNG, headers={"Content-Type": "image/png"}, timeout=20)


def status(service: Service, model: str) -> int:
    return predict(service, model).status_code


def ready(service: Service) -> Any:
    return requests.get(f"{service.http}/readyz", timeout=20).json()


def test_broken_models_are_reported_and_the_rest_is_served(start_service, models):
    (models / "bad" / "1").mkdir(parents=True)
    (models / "bad" / "1" / "model.tflite").write_bytes(b"this is no model")
    write_version(models / "crashing", 1, without_a_constant(toy_model(1)))
    os.mkfifo(write_version(models / "piped", 1, toy_model(1)) / "manifest.json")
    write_version(models / "foreign", 3)
    (models / "mine.keras").write_bytes(b"x")
    (models / "keras_inside" / "1").mkdir(parents=True)
    (models / "keras_inside" / "1" / "model.keras").write_bytes(b"x")
    service = start_service(models, "--workers=1")
    assert status(service, "good") == 200
    response = requests.get(f"{service.http}/readyz", timeout=20)
    assert response.status_code == 200
    states = response.json()["models"]
    unloaded = predict(service, "bad")
    assert unloaded.status_code == 404
    assert unloaded.json()["hint"] == "GET /v1/models/bad says why one does not load"
    assert "is not a LiteRT model" in requests.get(f"{service.http}/v1/models/bad", timeout=20).text
    assert states["good"] == {"ready": True, "version": 1}
    assert states["foreign"] == {"ready": True, "contract": False}
    problem = predict(service, "foreign")
    assert problem.status_code == 400
    assert "rockstar import FOLDER --name foreign" in problem.json()["hint"]
    listed = requests.get(f"{service.http}/v1/models", timeout=20).json()["models"]
    assert "rockstar import" in next(m for m in listed if m["model"] == "foreign")["problem"]
    tensors = {"instances": [{"image": [[[0.0]] * 4] * 4}]}
    url = f"{service.http}/v1/models/foreign:predict"
    assert len(requests.post(url, json=tensors, timeout=20).json()["predictions"][0]) == 3
    assert "is not a LiteRT model" in states["bad"]["reason"]
    assert "ended the process in which LiteRT tried it" in states["crashing"]["reason"]
    assert "manifest.json cannot be read: it is not a regular file" in states["piped"]["reason"]
    assert predict(service, "crashing").status_code == 404
    assert "rockstar import" in states["keras_inside"]["reason"]
    assert requests.get(f"{service.http}/v2/health/ready", timeout=20).status_code == 200
    assert "mine.keras is not served: publish it" in service.log.read_text()


def test_all_models_can_be_required(models):
    (models / "bad" / "1").mkdir(parents=True)
    (models / "bad" / "1" / "model.tflite").write_bytes(b"this is no model")
    ports = ("--port=0", "--grpc-port=0", "--rest-port=0")
    done = rockstar("serve", f"--models={models}", "--require-all-models", *ports)
    assert done.returncode == 1
    assert "is not a LiteRT model" in done.stderr


def test_models_come_and_go_without_a_restart(start_service, models, publish):
    service = start_service(models, "--workers=2")
    assert status(service, "new") == 404
    publish("new", 7)
    until(lambda: all(status(service, "new") == 200 for _ in range(8)), what="the new model")
    states = {"ready": True, "version": 7}
    until(lambda: all(ready(service)["models"].get("new") == states for _ in range(8)))
    shutil.rmtree(models / "new")
    until(lambda: all(status(service, "new") == 404 for _ in range(8)), what="its end")
    until(lambda: all("new" not in ready(service)["models"] for _ in range(8)))
    assert status(service, "good") == 200


def test_a_label_moves_while_it_is_served(start_service, models, publish):
    publish("good", 2)
    service = start_service(models, "--workers=1")

    def version(query: str) -> Any:
        return predict(service, f"good{query}").json().get("version")

    for number in (1, 2):
        assert invoke("promote", "good", str(number), f"--models={models}").exit_code == 0
        until(lambda number=number: version("?label=stable") == number, what=f"label {number}")
    assert version("") == 2


def test_rollback_promote_and_unpublish_while_serving(start_service, models, publish):
    publish("good", 2)
    service = start_service(models, "--workers=2")

    def versions() -> Any:
        return {predict(service, "good").json().get("version") for _ in range(8)}

    assert versions() == {2}
    assert invoke("rollback", "good", f"--models={models}").exit_code == 0
    until(lambda: versions() == {1}, what="version 1")
    assert invoke("promote", "good", "2", f"--models={models}").exit_code == 0
    until(lambda: versions() == {2}, what="version 2 again")
    assert invoke("rollback", "good", f"--models={models}").exit_code == 0
    until(lambda: versions() == {1}, what="version 1 again")
    assert invoke("unpublish", "good", "2", f"--models={models}").exit_code == 0
    assert versions() == {1}


def test_tensors_by_name_in_and_out(start_service, tmp_path):
    pair = [TensorSpec(name=name, dtype="float32", shape=(2,)) for name in ("a", "b")]
    sums = [TensorSpec(name="sum", dtype="float32", shape=(2,))]
    contract = Contract(
        schema_version=1,
        model="pair",
        version=1,
        task="tensors",
        input=TensorInput(tensors=tuple(pair)),
        outputs=tuple(sums),
        labels=(),
        metrics={},
        created=utc_now(),
        producer="tests",
    )
    golden = {name: np.arange(6, dtype=np.float32).reshape(3, 2) for name in ("a", "b")}

    def add(tensors: Any) -> Any:
        return {"sum": tensors["a"] + tf.constant(10.0) * tensors["b"]}

    export(add, [], contract, golden, tmp_path / "models")
    service = start_service(tmp_path / "models", "--workers=1")

    def ask(document: Any) -> Any:
        return requests.post(f"{service.http}/predict/pair", json=document, timeout=20).json()

    rows = {"instances": [{"a": [1, 2], "b": [3, 4]}, {"b": [0, 1], "a": [5, 6]}]}
    columns = {"inputs": {"a": [[1, 2], [5, 6]], "b": [[3, 4], [0, 1]]}}
    for document in (rows, columns):
        assert ask(document)["predictions"] == [{"sum": [31.0, 42.0]}, {"sum": [5.0, 16.0]}]
    assert ask({"instances": [{"a": [1, 2]}]})["field"] == "instances[0].b"
    assert ask({"inputs": {"a": [[1, 2]], "b": []}})["field"] == "inputs.b"
    (listed,) = requests.get(f"{service.http}/v1/models", timeout=20).json()["models"]
    assert [output["name"] for output in listed["outputs"]] == ["sum"]
    for client in (HttpClient(service.http), GrpcClient(service.grpc)):
        with client:
            answer = client.predict("pair", rows["instances"])
            assert answer.outputs["sum"].tolist() == [[31.0, 42.0], [5.0, 16.0]]
            assert answer.outputs["sum"].dtype == np.float32
            with pytest.raises(InvalidRequestError, match=r"inputs\[0\]\.b: expected float32"):
                client.predict("pair", {"a": [1, 2]})


def test_labels_are_served_from_a_folder_that_was_moved(start_service, tmp_path):
    for seed in (0, 1):
        export(*plain_model(seed), draft(), golden(), tmp_path / "models")
    assert invoke("promote", "toy", "1", f"--models={tmp_path / 'models'}").exit_code == 0
    # Labels come from the file, paths do not.
    service = start_service((tmp_path / "models").rename(tmp_path / "moved"))

    def ask(which: str) -> Any:
        body = {"instances": golden(1).tensors.tolist()}
        url = f"http://{service.rest}/v1/models/toy{which}:predict"
        return requests.post(url, json=body, timeout=20).json()["predictions"][0]

    assert ask("/labels/stable") == pytest.approx(ask("/versions/1"))
    assert ask("") == pytest.approx(ask("/versions/2"))
    assert ask("/labels/stable") != pytest.approx(ask(""), abs=1e-3)


def test_an_unreadable_models_config(tmp_path):
    (tmp_path / "toy" / "1").mkdir(parents=True)
    (tmp_path / "models.config").write_text("{")
    said = invoke("serve", f"--models={tmp_path}")
    assert said.exit_code == 1
    assert "is not in the text format of ModelServerConfig" in said.stderr
    assert "Traceback" not in said.stderr
