"""The embedded model server's image."""

import shutil

import pytest

from rockstar_serving.transfer import push
from tests.containers.conftest import ROOT
from tests.oci_registry import oci_registry
from tests.waiting import until

pytestmark = pytest.mark.images


def test_refuses_an_unknown_flag(engine, model_server_image):
    container = engine.start(model_server_image, "--enable_batchin")
    assert container.wait() == 2
    said = container.logs()
    assert "unknown flag --enable_batchin: did you mean --enable_batching?" in said
    assert "Traceback" not in said


def test_the_healthcheck_fails_without_a_server(engine, model_server_image):
    assert not engine.start(model_server_image, "--port=8600").healthy()


def test_pulls_models_as_an_init_container(engine, model_server_image):
    arguments = ("pull", "--models=/tmp/models", "/models/cnn/1")
    container = engine.start(model_server_image, *arguments, options=("--entrypoint=rockstar",))
    assert container.wait() == 0, container.logs()
    assert container.logs().startswith("cnn version 1 is now at /tmp/models/cnn/1 (")


def test_serves_a_model_of_an_image_volume(engine, model_server_image, trained_models, tmp_path):
    """As Kubernetes mounts what `rockstar push` makes."""
    with oci_registry(tmp_path) as address:
        image = f"{address}/models/cnn"
        push(trained_models.workdir / "models", "cnn", 1, f"oci://{image}")
        engine.podman("pull", "--quiet", "--tls-verify=false", f"{image}:1")
    try:
        container = engine.start(
            model_server_image,
            *("--rest_api_port=8501", "--model_name=cnn", "--model_base_path=/mnt/cnn/models"),
            options=(
                '--entrypoint=["python", "-m", "rockstar_serving.model_server"]',
                f"--mount=type=image,source={image}:1,destination=/mnt/cnn",
            ),
        )
        probe = ("python", "-m", "rockstar_serving.probe")
        url = "http://127.0.0.1:8501/v1/models/cnn/metadata"
        until(lambda: container.run(*probe, url).returncode == 0, 60, "a loaded model")
        assert "Read-only file system" in container.run("touch", "/mnt/cnn/models/2").stderr
        # Before its image.
        engine.podman("rm", "--force", "--time=0", container.id)
        engine._started.remove(container.id)
    finally:
        engine.podman("rmi", f"{image}:1")


@pytest.mark.parametrize(
    ("models", "complaint"),
    [
        ([], "holds no model"),
        (["cnn"], "cannot access '/models/logistic'"),
    ],
)
@pytest.mark.slow
def test_is_not_built_without_its_models(engine, trained_models, tmp_path, models, complaint):
    for model in models:
        shutil.copytree(trained_models.workdir / "models" / model, tmp_path / model)
    with pytest.raises(AssertionError, match=complaint):
        engine.build(ROOT / "Dockerfile.cpu", "model-server", f"--build-context=models={tmp_path}")


@pytest.mark.slow
def test_is_not_built_with_a_model_that_was_changed(engine, trained_models, tmp_path):
    shutil.copytree(trained_models.workdir / "models", tmp_path, dirs_exist_ok=True)
    (tmp_path / "cnn" / "1" / "model.tflite").write_bytes(b"something else")
    with pytest.raises(AssertionError, match="1 of 3 versions do not match their manifests"):
        engine.build(ROOT / "Dockerfile.cpu", "model-server", f"--build-context=models={tmp_path}")
