"""The embedded model server's image."""

import shutil

import pytest

from tests.containers.conftest import ROOT

pytestmark = pytest.mark.images


def test_refuses_an_unknown_flag(engine, model_server_image):
    container = engine.start(model_server_image, "--enable_batchin")
    assert container.wait() == 2
    said = container.logs()
    assert "unknown flag --enable_batchin: did you mean --enable_batching?" in said
    assert "Traceback" not in said


def test_the_healthcheck_fails_without_a_server(engine, model_server_image):
    assert not engine.start(model_server_image, "--port=8600").healthy()


@pytest.mark.parametrize(
    ("models", "complaint"),
    [
        ([], "holds no model"),
        (["cnn"], "cannot access '/models/logistic'"),
    ],
)
def test_is_not_built_without_its_models(engine, trained_models, tmp_path, models, complaint):
    for model in models:
        shutil.copytree(trained_models.workdir / "models" / model, tmp_path / model)
    with pytest.raises(AssertionError, match=complaint):
        engine.build(ROOT / "Dockerfile.cpu", "model-server", f"--build-context=models={tmp_path}")


def test_is_not_built_with_a_model_that_was_changed(engine, trained_models, tmp_path):
    shutil.copytree(trained_models.workdir / "models", tmp_path, dirs_exist_ok=True)
    (tmp_path / "cnn" / "1" / "model.tflite").write_bytes(b"something else")
    with pytest.raises(AssertionError, match="1 of 3 versions do not match their manifests"):
        engine.build(ROOT / "Dockerfile.cpu", "model-server", f"--build-context=models={tmp_path}")
