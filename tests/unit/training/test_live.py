import base64
import json
import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from rockstar_training import live as module
from rockstar_training.config import config_for
from rockstar_training.errors import StoppedError, TrainingError
from rockstar_training.fit import fit
from rockstar_training.live import Live
from rockstar_training.prepared_data import Task, task_of
from rockstar_training.progress import Epoch
from rockstar_training.report.regression import descent_path
from tests.images import png
from tests.unit.training.small_data import prepare, write_csv, write_shades
from tests.waiting import until


class FakeVariable:
    def numpy(self):
        return np.ones((64, 2), np.float32)


@dataclass
class FakeNetwork:
    """Predicts the first class."""

    task: Task = field(default_factory=lambda: Task((1,), None))
    stop_training: bool = False
    weights: list[Any] = field(default_factory=lambda: [FakeVariable()] * 2)
    fails: bool = False

    def predict(self, x):
        if self.fails:
            raise ValueError("no")
        return np.eye(2, dtype=np.float32)[np.zeros(len(x), int)]


@dataclass
class FakeRate:
    peak: float = 0.1
    factor: float = 1.0


class Watched:
    """A training of a fake network, and a page."""

    def __init__(self, folder, data, config, *, watched=True, path=None):
        folder.mkdir(exist_ok=True)
        self.folder, self.network, self.rate = folder, FakeNetwork(), FakeRate()
        self.live = Live(folder, config, data, path, watched=watched)

    def start(self, resumed=0):
        self.live.start(self.network, self.rate, resumed)
        return self

    def request(self, **fields):
        with (self.folder / "requests.jsonl").open("a") as file:
            file.write(json.dumps(fields) + "\n")

    def epoch(self, number, *, last=False):
        self.live.begin_epoch(number)
        self.live.after_steps(0.5, {"loss": 2.0})
        self.live.end_epoch(Epoch(number, 4, loss=1 / number, val_loss=float("nan"), last=last))

    def events(self, *kinds):
        lines = (self.folder / "events.jsonl").read_bytes().splitlines()
        return [each for each in map(json.loads, lines) if not kinds or each["event"] in kinds]


@pytest.fixture(scope="module")
def shades(tmp_path_factory):
    """Dark and light images, which are drawn too."""
    return prepare(write_shades(tmp_path_factory.mktemp("shades") / "images", 30), image_size=8)


@pytest.fixture
def training(tmp_path, shades):
    training = Watched(tmp_path / "run", shades, config_for("mlp", data=shades.name, epochs=4))
    with training.live:
        yield training


def test_events_tell_the_training(training):
    training.start()
    training.epoch(1)
    training.epoch(2, last=True)
    training.live.write("finished", run="mlp-1")
    file, start, *_ = training.events()
    assert file["event"] == "file"
    assert file["id"]
    assert (start["labels"], start["epochs"], start["image"]) == (["dark", "light"], 4, [8, 8, 1])
    epochs = training.events("epoch")
    assert [(each["epoch"], each["loss"], each["val_loss"]) for each in epochs] == [
        (1, 1.0, None),  # JSON has no NaN
        (2, 0.5, None),
    ]
    last = training.events("snapshot")[-1]
    assert last["epoch"] == 2
    right, taken_for_light, taken_for_dark, _ = last["confusion"]
    assert right > 0
    assert taken_for_light == 0
    assert taken_for_dark > 0
    assert training.events()[-1]["run"] == "mlp-1"


def test_without_a_page_there_are_no_snapshots(tmp_path, shades):
    config = config_for("mlp", data=shades.name, epochs=4)
    alone = Watched(tmp_path / "run", shades, config, watched=False).start()
    alone.epoch(1)
    assert alone.events("snapshot") == []
    (alone.folder / "requests.jsonl").touch()
    until(lambda: alone.epoch(2) or alone.events("snapshot"))
    alone.live.__exit__(None, None, None)


def test_many_epochs_make_a_short_file(tmp_path, shades):
    config = config_for("logistic", data=shades.name, epochs=100_000)
    training = Watched(tmp_path / "run", shades, config, watched=False).start()
    for number in (*range(1, 600), *range(99_900, 100_001)):
        training.live.end_epoch(Epoch(number, 100_000, loss=1.0, last=number == 100_000))
    training.live.__exit__(None, None, None)
    epochs = [each["epoch"] for each in training.events("epoch")]
    assert epochs == [*range(1, 501), 99_900, 100_000]


def test_fine_tuning_continues_the_numbers(training):
    training.start()
    training.epoch(1)
    training.epoch(2, last=True)
    training.start(resumed=1)
    training.epoch(2, last=True)
    assert [each["epoch"] for each in training.events("start", "epoch")] == [0, 1, 2, 4]


def test_a_page_can_stop_and_change_the_rate(training):
    training.start()
    training.request(action="rate", value=0.05)
    training.request(action="rate", value=-1)
    training.request(action="rate", value="fast")
    training.request(action="dance")
    with (training.folder / "requests.jsonl").open("a") as file:
        file.write("no JSON\n[]\n")
    training.epoch(1)
    assert training.rate.factor == 0.5
    assert not training.network.stop_training
    training.request(action="stop")
    training.epoch(2)
    assert training.network.stop_training
    assert training.live.stopped


def test_pause_one_epoch_and_resume(training):
    training.start()
    training.request(action="pause")
    thread = threading.Thread(target=lambda: [training.epoch(1), training.epoch(2)])
    thread.start()
    until(lambda: training.events("paused"))
    assert training.events("epoch") == []
    training.request(action="step")
    until(lambda: len(training.events("paused")) == 2)
    assert len(training.events("epoch")) == 1
    training.request(action="resume")
    thread.join(30)
    assert len(training.events("epoch")) == 2
    assert training.live.waited == 0  # in the second epoch


def test_a_pause_ends_when_no_page_is_open(training, monkeypatch):
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.1)
    training.start()
    training.request(action="pause")
    monkeypatch.setattr(module, "_PAGE_SECONDS", 0.0)
    training.epoch(1)
    assert training.events("resumed")[0]["reason"] == "no page was open"


def test_slow_motion_waits_only_while_a_page_is_open(training, monkeypatch):
    monkeypatch.setattr(module, "_SLOW_SECONDS", 0.01)
    training.start()
    training.request(action="slow", value=True)
    training.epoch(1)
    assert training.live.waited >= 0.01
    monkeypatch.setattr(module, "_PAGE_SECONDS", 0.0)
    until(lambda: training.epoch(2) or training.live.waited == 0)


def test_a_drawing_is_predicted_at_once_and_after_each_epoch(training, monkeypatch):
    monkeypatch.setattr(module, "_DRAWING_SECONDS", 0.0)
    monkeypatch.setattr(module, "_SPACING", 0.0)
    training.start()
    image = png(np.zeros((30, 30), np.uint8))
    training.request(action="draw", png=base64.b64encode(image).decode())
    training.epoch(1)
    training.epoch(2)
    first, *others = training.events("drawing")
    assert (first["epoch"], first["scores"]) == (0, [1, 0])
    assert len(base64.b64decode(first["image"])) == 8 * 8
    assert [(each["epoch"], each["scores"]) for each in others] == [(1, [1, 0]), (2, [1, 0])]
    training.request(action="clear")
    training.epoch(3)
    assert len(training.events("drawing")) == 3


def test_a_drawing_that_is_none_gets_a_sentence(training):
    training.start()
    training.request(action="draw", png=base64.b64encode(b"no image").decode())
    training.request(action="draw", png="!")
    training.epoch(1)
    problems = [each["problem"] for each in training.events("drawing")]
    assert problems[0].startswith("drawing: expected an image")
    assert len(problems) == 2


def test_an_interrupted_training_continues_its_file(tmp_path, shades):
    config = config_for("mlp", data=shades.name, epochs=4)
    first = Watched(tmp_path / "run", shades, config).start()
    first.epoch(1)
    first.epoch(2)
    with pytest.raises(StoppedError), first.live:
        raise StoppedError("stopped in epoch 3")
    name = first.events()[0]["id"]
    assert first.events()[-1] == {
        "event": "interrupted",
        "epoch": 2,
        "message": "stopped in epoch 3",
    }
    with (first.folder / "events.jsonl").open("a") as file:
        file.write('{"event":"epo')  # killed while writing
    first.request(action="stop")  # from before
    again = Watched(tmp_path / "run", shades, config).start(resumed=1)
    again.epoch(2)
    assert again.events()[0]["id"] == name
    assert [each["epoch"] for each in again.events("start", "epoch")] == [0, 1, 2, 1, 2]
    assert not again.live.stopped
    again.live.__exit__(None, None, None)
    # Without a checkpoint, it starts over.
    over = Watched(tmp_path / "run", shades, config).start()
    assert over.events()[0]["id"] != name
    assert over.events("epoch") == []
    over.live.__exit__(None, None, None)


@pytest.mark.parametrize(
    ("error", "event", "message"),
    [
        (TrainingError("the loss became nan"), "failed", "the loss became nan"),
        (KeyError("x"), "failed", "unexpected KeyError"),
        (KeyboardInterrupt(), "interrupted", "Training was stopped"),  # while it tests
    ],
)
def test_failures_are_told(training, error, event, message):
    training.start()
    with pytest.raises(type(error)), training.live:
        raise error
    assert training.events()[-1]["event"] == event
    assert training.events()[-1]["message"].startswith(message)


def test_training_goes_on_with_a_full_disk(training, caplog):
    training.start()
    training.live._file.close()
    with open("/dev/full", "ab", buffering=0) as training.live._file:
        training.epoch(1)
        training.epoch(2)
    assert caplog.messages == [
        "Training continues, but pages cannot watch it: No space left on device"
    ]


def test_training_goes_on_without_its_folder(training):
    training.start()
    for file in training.folder.iterdir():
        file.unlink()
    training.folder.rmdir()
    training.epoch(1)
    training.epoch(2, last=True)


def test_training_goes_on_if_a_snapshot_fails(training, caplog):
    training.start()
    training.network.fails = True
    training.epoch(1, last=True)
    assert "Training continues without snapshots" in caplog.text


def test_a_line_comes_with_its_data(tmp_path):
    rows = [(x, 3 * x + 2) for x in range(40)]
    data = prepare(
        write_csv(tmp_path / "line.csv", ("x", "y"), rows), target="y", task="regression"
    )
    config = config_for("linear", data=data.name, epochs=3)
    path = descent_path("linear", data.input)
    training = Watched(tmp_path / "run", data, config, path=path).start()
    training.epoch(1)
    assert path.points == [(1, 1), (1, 1)]
    points = training.events("start")[0]["points"]
    assert (points["column"], points["target"], points["start"]) == ("x", "y", [1, 1])
    x = np.array(points["x"]) * points["scale"] + points["mean"]
    np.testing.assert_allclose(3 * x + 2, points["y"], rtol=1e-5)
    assert training.events("epoch")[0]["line"] == [1, 1]
    training.live.__exit__(None, None, None)


@pytest.mark.parametrize("api", ["keras", "core"])
def test_a_real_network_can_be_steered(tmp_path, shades, api):
    config = config_for("logistic", data=shades.name, epochs=50, batch_size=8, api=api)
    live = Live(tmp_path, config, shades, None, watched=True)
    requests = [{"action": "rate", "value": 0.25}, {"action": "stop"}]

    def request(epoch):
        if requests:
            with (tmp_path / "requests.jsonl").open("a") as file:
                file.write(json.dumps(requests.pop(0)) + "\n")

    task = task_of(config, shades)
    with live:
        fitted = fit(task, shades.train, shades.validation, config, progress=request, live=live)
    assert len(fitted.history) == 3
    # Cosine decay has hardly begun.
    assert fitted.history[1].learning_rate == pytest.approx(0.25, rel=0.05)
    assert fitted.notes[:2] == (
        "Training was stopped by request after epoch 3 of 50.",
        "The learning rate was changed by request, at last to 0.25.",
    )
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_bytes().splitlines()]
    images = [each["images"] for each in events if each["event"] == "snapshot"]
    assert images[-1]["shape"] == [2, 8, 8, 1]
    assert images[0]["pixels"] != images[-1]["pixels"]
