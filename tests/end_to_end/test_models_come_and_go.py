"""What a folder of models holds while it is served: the good, the broken, the new and the gone."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import requests

from rockstar_client import GrpcClient, HttpClient, InvalidRequestError
from tests.end_to_end.conftest import Service, rockstar
from tests.model_fixtures import write_version
from tests.unit.training.toys import draft, golden, plain_model
from tests.waiting import until

PNG = golden(1).raw[0]
TYPE = {"Content-Type": "image/png"}


@pytest.fixture(scope="session")
def exported(tmp_path_factory) -> Path:
    from rockstar_training.export import export

    folder = tmp_path_factory.mktemp("exported")
    return export(*plain_model(), draft(), golden(), folder).folder


@pytest.fixture
def publish(exported, tmp_path):
    """Publishes a version in one step."""

    def publish(model: str, version: int) -> None:
        aside = tmp_path / "models" / model / ".incoming-test"
        shutil.copytree(exported, aside)
        aside.rename(aside.with_name(str(version)))

    return publish


@pytest.fixture
def models(tmp_path, publish):
    publish("good", 1)
    return tmp_path / "models"


def status(service: Service, model: str) -> int:
    url = f"{service.http}/predict/{model}"
    return requests.post(url, data=PNG, headers=TYPE, timeout=20).status_code


def ready(service: Service) -> Any:
    return requests.get(f"{service.http}/readyz", timeout=20).json()


def test_what_is_broken_is_reported_and_the_rest_is_served(start_service, models):
    (models / "bad" / "1").mkdir(parents=True)
    (models / "bad" / "1" / "model.tflite").write_bytes(b"this is no model")
    write_version(models / "foreign", 3)
    (models / "mine.keras").write_bytes(b"x")
    (models / "keras_inside" / "1").mkdir(parents=True)
    (models / "keras_inside" / "1" / "model.keras").write_bytes(b"x")
    service = start_service(models, "--workers=1")
    assert status(service, "good") == 200
    response = requests.get(f"{service.http}/readyz", timeout=20)
    assert response.status_code == 200
    states = response.json()["models"]
    unloaded = requests.post(f"{service.http}/predict/bad", data=PNG, headers=TYPE, timeout=20)
    assert unloaded.status_code == 404
    assert unloaded.json()["hint"] == "GET /v1/models/bad says why one does not load"
    assert "is no LiteRT model" in requests.get(f"{service.http}/v1/models/bad", timeout=20).text
    assert states["good"] == {"ready": True, "version": 1}
    assert states["foreign"] == {"ready": True, "contract": False}
    problem = requests.post(f"{service.http}/predict/foreign", data=PNG, headers=TYPE, timeout=20)
    assert problem.status_code == 400
    assert "rockstar import FOLDER --name foreign" in problem.json()["hint"]
    listed = requests.get(f"{service.http}/v1/models", timeout=20).json()["models"]
    assert "rockstar import" in next(m for m in listed if m["model"] == "foreign")["problem"]
    tensors = {"instances": [{"image": [[[0.0]] * 4] * 4}]}
    url = f"{service.http}/v1/models/foreign:predict"
    assert len(requests.post(url, json=tensors, timeout=20).json()["predictions"][0]) == 3
    assert "is no LiteRT model" in states["bad"]["reason"]
    assert "rockstar import" in states["keras_inside"]["reason"]
    assert requests.get(f"{service.http}/v2/health/ready", timeout=20).status_code == 200
    assert "mine.keras is not served: publish it" in service.log.read_text()


def test_all_models_can_be_required(models):
    (models / "bad" / "1").mkdir(parents=True)
    (models / "bad" / "1" / "model.tflite").write_bytes(b"this is no model")
    ports = ("--port=0", "--grpc-port=0", "--rest-port=0")
    done = rockstar("serve", f"--models={models}", "--require-all-models", *ports)
    assert done.returncode == 1
    assert "is no LiteRT model" in done.stderr


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
        url = f"{service.http}/predict/good{query}"
        return requests.post(url, data=PNG, headers=TYPE, timeout=20).json().get("version")

    for number in (1, 2):
        assert rockstar("promote", "good", str(number), f"--models={models}").returncode == 0
        until(lambda number=number: version("?label=stable") == number, what=f"label {number}")
    assert version("") == 2


def test_going_back_changes_what_is_served(start_service, models, publish):
    publish("good", 2)
    service = start_service(models, "--workers=2")

    def versions() -> Any:
        url = f"{service.http}/predict/good"
        return {
            requests.post(url, data=PNG, headers=TYPE, timeout=20).json().get("version")
            for _ in range(8)
        }

    assert versions() == {2}
    assert rockstar("rollback", "good", f"--models={models}").returncode == 0
    until(lambda: versions() == {1}, what="version 1")
    assert rockstar("promote", "good", "2", f"--models={models}").returncode == 0
    until(lambda: versions() == {2}, what="version 2 again")
    assert rockstar("rollback", "good", f"--models={models}").returncode == 0
    until(lambda: versions() == {1}, what="version 1 again")
    assert rockstar("unpublish", "good", "2", f"--models={models}").returncode == 0
    assert versions() == {1}


def test_tensors_by_name_in_and_out(start_service, tmp_path):
    import numpy as np

    from rockstar_contract.contract import Contract, TensorInput, TensorSpec, utc_now
    from rockstar_training.export import export_tensors
    from rockstar_training.tensorflow_setup import tf

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

    export_tensors(add, None, contract, golden, tmp_path / "models")
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
