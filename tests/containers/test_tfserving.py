"""The image of TensorFlow Serving, built on a substitute for the program.

The embedded server, which has the same flags, gets its command line.
"""

import pytest

from tests.containers.conftest import MODELS, ROOT
from tests.waiting import until

pytestmark = [pytest.mark.images, pytest.mark.slow]


@pytest.fixture(scope="module", params=["Dockerfile.cpu", "Dockerfile.gpu"])
def tfserving_image(request, engine, trained_models, tmp_path_factory):
    probe = tmp_path_factory.mktemp("probe")
    (probe / "ko-app").mkdir()
    (probe / "ko-app" / "grpc-health-probe").touch(mode=0o755)
    return engine.build(
        ROOT / request.param,
        "tfserving",
        f"--build-arg=TFSERVING_IMAGE={engine.base}",
        f"--build-context=health-probe={probe}",
        f"--build-context=models={trained_models.workdir / 'models'}",
    )


def test_serves_its_models_with_its_flags(engine, tfserving_image, model_server_image):
    program, *flags = engine.image(tfserving_image)["Config"]["Entrypoint"]
    assert program == "/usr/bin/tensorflow_model_server"
    container = engine.start(model_server_image, *flags)
    until(container.healthy, 60, "a healthy server")
    said = container.logs()
    assert container.stop() == 0
    assert "without effect" not in said
    listed = engine.podman("run", "--rm", "--entrypoint=ls", tfserving_image, "/models")
    assert set(listed.split()) == set(MODELS)
