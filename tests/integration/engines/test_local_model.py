"""`rockstar_serving.load`: predictions without a server."""

import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from rockstar_client.errors import NoContractError
from rockstar_contract.contract import Prediction, Value
from rockstar_serving import load
from rockstar_serving.model_server.engines.engine import LoadError
from tests.images import png, stroke
from tests.model_fixtures import write_version
from tests.table_models import ROW


@pytest.fixture(scope="module")
def toy(models):
    return load(models / "toy" / "1")


def test_everything_that_clients_take(toy, tmp_path):
    file = tmp_path / "stroke.png"
    file.write_bytes(png(stroke()))
    pixels = Image.fromarray(stroke())
    examples = [file, str(file), file.read_bytes(), bytearray(file.read_bytes()), pixels]
    predictions = toy(examples)
    assert len(predictions) == 5
    assert isinstance(predictions[0], Prediction)
    assert set(predictions) == {predictions[0]}
    assert len(predictions[0].top) == 3
    assert toy(file) == predictions[:1]
    assert toy(np.array([file.read_bytes()] * 40, object)) == predictions[:1] * 40
    assert len(toy(np.zeros((3, 8, 8), np.float32))) == 3
    assert len(toy(np.zeros((8, 8, 1), np.float32))) == 1
    assert toy([]) == []


def test_rows(models):
    price = load(models / "price" / "1")
    frame = pd.DataFrame({"petal width": [2.0, None], "color": ["red", "blue"]})
    assert price([ROW, {"petal width": -1, "color": "white"}]) == [Value(3.0), Value(-2.0)]
    assert price.table(frame) == {"value": [3.0, 0.0], "version": [1, 1], "error": [None, None]}
    strict = load(models / "price" / "1", strict=True).table(frame)
    assert strict["value"] == [3.0, None]
    assert "petal width" in strict["error"][1]


def test_bad_examples(toy, models, tmp_path):
    wrong = [b"", tmp_path / "absent.png", 3, {"petal width": 1}, np.zeros(7), None]
    table = toy.table([png(stroke()), *wrong])
    assert list(table) == list(toy.column_types)
    assert [error is None for error in table["error"]] == [True] + [False] * len(wrong)
    assert table["version"] == [1] + [None] * len(wrong)
    for example in wrong:
        with pytest.raises(ValueError, match=r"^examples\[1\]( \(.*absent.png\))?: expected"):
            toy([png(stroke()), example])
    rows = load(models / "price").table([{"color": "red"}, {"petal": 1.0}, b"x"])
    assert "petal width" in rows["error"][1]


def test_a_model_folder_means_its_highest_version(models, tmp_path):
    shutil.copytree(models / "toy" / "1", tmp_path / "toy" / "2")
    shutil.copytree(models / "toy" / "1", tmp_path / "toy" / "10")
    assert load(tmp_path / "toy").folder == tmp_path / "toy" / "10"
    assert load(tmp_path / "toy").table(png(stroke()))["version"] == [10]
    renamed = shutil.copytree(models / "toy" / "1", tmp_path / "best")
    assert load(renamed).table(png(stroke()))["label"]


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("absent", "absent does not exist: expected the folder of a version"),
        ("toy/1/model.tflite", "model.tflite is a file: expected the folder"),
        (".", "holds no model.tflite and no version"),
    ],
)
def test_folders_without_a_model(models, folder, message):
    with pytest.raises(LoadError, match=message):
        load(models / folder)


def test_damaged_versions(models, tmp_path):
    version = Path(shutil.copytree(models / "toy" / "1", tmp_path / "toy" / "1"))
    content = bytearray((version / "model.tflite").read_bytes())
    content[-1] ^= 1
    (version / "model.tflite").write_bytes(content)
    with pytest.raises(LoadError, match=r"model\.tflite has another content"):
        load(version)
    with pytest.raises(NoContractError):
        load(write_version(tmp_path, 3))
    for name in ("top", "threads"):
        with pytest.raises(ValueError, match=f"{name}: expected 1 or more, got 0"):
            load(models / "toy", **{name: 0})


def test_pickled_models_load_once_in_a_process_and_only_the_same_version(models, tmp_path):
    version = Path(shutil.copytree(models / "toy" / "1", tmp_path / "toy" / "1"))
    model = load(version)
    pickled, unused = pickle.dumps(model), pickle.dumps(load(version, top=2))
    assert len(pickled) < 1000
    copy = pickle.loads(pickled)
    assert pickle.loads(pickled) is copy
    assert copy(png(stroke())) == model(png(stroke()))
    for file in (models / "price" / "1").iterdir():
        shutil.copy(file, version)
    with pytest.raises(LoadError, match="is not the version that was loaded first"):
        pickle.loads(unused)(png(stroke()))


def test_threads(toy):
    images = [png(stroke(size)) for size in range(8, 40)]
    expected = toy(images)
    with ThreadPoolExecutor(4) as pool:
        assert all(found == expected for found in pool.map(toy, [images] * 8))
