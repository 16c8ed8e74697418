"""The image that trains, and what it exports in the image that serves."""

import os

import pytest

from tests.waiting import until

pytestmark = pytest.mark.images


@pytest.fixture
def work(tmp_path):
    """A folder that the image's user may write to."""
    folder = tmp_path / "work"
    folder.mkdir()
    os.chown(folder, 10001, 10001)
    return folder


def test_trains_what_the_model_server_serves(engine, trainer_image, model_server_image, work):
    mounted = f"--volume={work}:/work"
    trainer = engine.start(trainer_image, "train", "logistic", options=(mounted,))
    assert trainer.wait(300) == 0, trainer.logs()
    models = engine.start(model_server_image, options=(f"--volume={work}/models:/models:ro",))
    says = "model logistic version 1 is available"
    until(lambda: says in models.logs(), what=says)


def test_stops_in_time_and_goes_on(engine, trainer_image, work):
    options = (f"--volume={work}:/work",)
    trainer = engine.start(trainer_image, "train", "cnn", options=options)
    until(lambda: "epoch" in trainer.logs(), 180, "an epoch")
    assert trainer.stop(grace=30) == 130
    assert "Traceback" not in trainer.logs()


def test_says_which_option_is_wrong(engine, trainer_image):
    trainer = engine.start(
        trainer_image, "train", "cnn", "--epochs=many", options=("--tmpfs=/work",)
    )
    assert trainer.wait() == 2
    assert "--epochs" in trainer.logs()
