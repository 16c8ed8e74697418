"""The trainer's image, and its exports in the image that serves them."""

import os

import pytest

from tests.waiting import until

pytestmark = pytest.mark.images


@pytest.fixture
def work(tmp_path):
    """A folder that is writable for the image's user."""
    folder = tmp_path / "work"
    folder.mkdir()
    os.chown(folder, 10001, 10001)
    return folder


def test_trains_models_that_the_others_serve(
    engine, trainer_image, start_pair, ask, held_out, work
):
    mounted = f"--volume={work}:/work"
    trainer = engine.start(trainer_image, "train", "logistic", options=(mounted,))
    assert trainer.wait(300) == 0, trainer.logs()
    only = (
        'model_config_list { config { name: "logistic" base_path: "/models/logistic" '
        'model_platform: "tensorflow" } }'
    )
    (work / "models.config").write_text(only)
    pair = start_pair(
        f"--volume={work}/models:/models:ro",
        f"--volume={work}/models.config:/etc/rockstartf/tfserving/models.config:ro",
        models=("logistic",),
    )
    right = sum(
        ask(pair, "logistic", png) == label
        for png, label in zip(held_out.images[:20], held_out.labels, strict=False)
    )
    assert right >= 16


def test_stops_in_time(engine, trainer_image, work):
    options = (f"--volume={work}:/work",)
    trainer = engine.start(trainer_image, "train", "cnn", options=options)
    until(lambda: "epoch" in trainer.logs(), 180, "an epoch")
    assert trainer.stop(grace=30) == 130
    assert "Training stopped in epoch" in trainer.logs()
    assert "Traceback" not in trainer.logs()


def test_an_unknown_option(engine, trainer_image):
    trainer = engine.start(
        trainer_image, "train", "cnn", "--epochs=many", options=("--tmpfs=/work",)
    )
    assert trainer.wait() == 2
    assert "--epochs" in trainer.logs()
