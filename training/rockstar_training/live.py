"""A training that pages can watch: its events in a file, and the requests of the pages.

Each line of the run's events.jsonl is a JSON object; the page's watch.js reads them. Pages write
their requests into requests.jsonl beside it. Training depends on neither: it continues if events
cannot be written, and if a page that paused it is closed.
"""

import base64
import contextlib
import fcntl
import logging
import math
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

import numpy as np
import orjson
from numpy.typing import NDArray

from rockstar_contract.contract import ImageInput
from rockstar_contract.errors import InvalidInputError
from rockstar_contract.images import to_levels
from rockstar_contract.inputs import prepare
from rockstar_contract.text_files import utf8_name
from rockstar_training.config import TrainConfig
from rockstar_training.errors import StoppedError, TrainingError
from rockstar_training.indexed_job import has_several_workers
from rockstar_training.prepared_data import Part, PreparedData
from rockstar_training.progress import Epoch
from rockstar_training.runs import EVENTS_FILE, REQUESTS_FILE

if TYPE_CHECKING:
    from rockstar_training.fit import LearningRate
    from rockstar_training.networks import Network
    from rockstar_training.report.regression import DescentPath

# Called every few steps with the share of the epoch that is done, and the means so far.
AfterSteps = Callable[[float, dict[str, float]], None]

# All of the first epochs are recorded, then at most so many more: files and pages stay small.
_ALL_EPOCHS, _MORE_EPOCHS = 500, 1000
# Seconds between records of other kinds, at least; later this share of the time so far.
_PART_SECONDS, _SNAPSHOT_SECONDS, _DRAWING_SECONDS, _SPACING = 0.5, 0.2, 0.1, 0.01
# Snapshots, predictions of samples and weights, take at most this share of the time.
_SNAPSHOT_SHARE = 0.02
# A page is open if it, or rather its server, touched the file of requests this recently.
_PAGE_SECONDS = 15.0
# A paused training continues after so many seconds without a page. In slow motion each epoch is
# followed by a pause.
_PAUSE_SECONDS, _SLOW_SECONDS = 60.0, 0.5
_POLL_SECONDS = 0.05
# Examples in the confusion matrix, classes that it can show, points of the line's data.
_EXAMPLES, _CLASSES, _POINTS = 256, 30, 300
# Images of weights: how many, and pixels of the largest.
_IMAGES, _PIXELS = 32, 4096
_MAX_REQUESTS_BYTES = 16 * 2**20

log = logging.getLogger(__name__)


class Observer:
    """Follows a training and may steer it; this one does nothing.

    Attributes:
        stopped: whether it stopped the training.
        waited: seconds for which it paused the current epoch.
    """

    stopped = False
    waited = 0.0

    def start(self, network: "Network", rate: "LearningRate", resumed: int) -> None:
        """Before the first epoch of a network, after so many epochs of an earlier attempt."""

    def begin_epoch(self, number: int) -> None:
        """Before an epoch, counted from 1."""

    def after_steps(self, share: float, means: dict[str, float]) -> None:
        """After every few steps, given the share of the epoch that is done and the means so far."""

    def end_epoch(self, epoch: Epoch) -> None:
        """After an epoch."""


class Live(Observer):
    """Records one training, and follows requests; a context manager that records how it ends."""

    def __init__(
        self,
        folder: Path,
        config: TrainConfig,
        data: PreparedData,
        path: "DescentPath | None",
        *,
        watched: bool,
    ) -> None:
        """Open the files in the folder of the run.

        The path records W and b, if the network is a line. If `watched`, snapshots are recorded
        even if no page is open.
        """
        self._config, self._data, self._path = config, data, path
        # Workers that train one model together would have to agree on each request.
        self._alone = not has_several_workers()
        self._watched, self._snapshots = watched, self._alone
        self._requests = folder / REQUESTS_FILE
        self._network: Network | None = None
        self._rate: LearningRate | None = None
        self._first = self._epoch = 0  # epochs before this phase, and the current one
        self._paused = self._one_epoch = self._slow = False
        self._drawing: NDArray[np.float32] | None = None
        self._started = time.monotonic()
        self._next_part = self._next_snapshot = self._next_drawing = self._next_check = 0.0
        self._page_open = False
        self._file: IO[bytes] | None = None
        self._read = 0  # bytes of the file of requests
        try:
            # Requests from before an interruption are void.
            self._requests.write_bytes(b"")
            os.utime(self._requests, (0, 0))
            self._file = (folder / EVENTS_FILE).open("ab+", buffering=0)
            # Tells servers in other processes whether this one still trains.
            with contextlib.suppress(OSError):
                fcntl.flock(self._file, fcntl.LOCK_EX)
        except OSError as error:
            self._give_up(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, StoppedError):
            self.write("interrupted", message=utf8_name(str(error)))
        elif isinstance(error, TrainingError):
            self.write("failed", message=utf8_name(str(error)))
        elif isinstance(error, KeyboardInterrupt):
            self.write("interrupted", message="Training was stopped. The same command continues.")
        elif error is not None:
            what = f"unexpected {type(error).__name__}; the terminal shows more"
            self.write("failed", message=what)
        if self._file is not None:
            self._file.close()

    def write(self, event: str, **fields: Any) -> None:
        """Append an event; numbers that are not finite become null."""
        if self._file is None:
            return
        document = {"event": event, "epoch": self._epoch, **fields}
        content = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n"
        try:
            written = self._file.write(content)
            if written != len(content):
                raise OSError("no space left")
        except OSError as error:
            self._give_up(error)

    def start(self, network: "Network", rate: "LearningRate", resumed: int) -> None:
        """Record that a network starts to learn, after so many epochs of an earlier attempt."""
        later = self._network is not None  # fine-tuning
        self._network, self._rate = network, rate
        self._first, self._epoch = self._epoch, self._epoch + resumed
        if self._path is not None:
            self._path.record(network)
        if not later:
            self._open_log(resumed)
            self.write("start", **self._description())
        self.write("rate", value=rate.peak * rate.factor)
        self._snapshot()

    def begin_epoch(self, number: int) -> None:
        """Follow requests before an epoch."""
        self._epoch, self.waited = self._first + number - 1, 0.0
        self._follow_requests()

    def after_steps(self, share: float, means: dict[str, float]) -> None:
        """Follow requests within an epoch, and record the means so far."""
        self._follow_requests()
        now = time.monotonic()
        if share < 1 and now >= self._next_part:
            self.write("part", share=share, **means)
            self._next_part = now + self._spacing(_PART_SECONDS)

    def end_epoch(self, epoch: Epoch) -> None:
        """Record an epoch."""
        self._epoch = number = self._first + epoch.number
        if self._path is not None and self._network is not None:
            self._path.record(self._network)
        every = 1 + (self._config.epochs - 1) // _MORE_EPOCHS
        if number <= _ALL_EPOCHS or number % every == 0 or epoch.last:
            fields = asdict(epoch)
            del fields["number"], fields["epochs"], fields["last"]
            line = {"line": self._path.points[-1]} if self._path else {}
            self.write("epoch", **fields, **line)
            self._predict_drawing()
        self._snapshot(now=epoch.last or self._slow)
        if self.stopped or epoch.last:
            return
        if self._one_epoch:
            self._one_epoch = False
            self._pause()
        elif self._slow and self._page_open:
            self._wait(_SLOW_SECONDS)

    # The file of events.

    def _open_log(self, resumed: int) -> None:
        """Continue the file of an interrupted training, or start over."""
        if self._file is None:
            return
        try:
            self._file.seek(0)
            content = self._file.read() if resumed else b""
            # The last line may be incomplete.
            self._file.truncate(content.rfind(b"\n") + 1)
        except OSError as error:
            self._give_up(error)
            return
        if not resumed or not content.startswith(b"{"):
            self.write("file", id=secrets.token_hex(8))

    def _give_up(self, error: OSError) -> None:
        why = error.strerror or error
        log.warning("Training continues, but pages cannot watch it: %s", why)
        if self._file is not None:
            self._file.close()
        self._file = None

    def _description(self) -> dict[str, Any]:
        """What pages need to know: the data, the settings, and what can be shown."""
        config, data = self._config, self._data
        found: dict[str, Any] = {
            "name": config.name,
            "model": config.model,
            "data": data.name,
            "labels": [utf8_name(label) for label in data.labels],
            "epochs": config.epochs + config.fine_tune,
            "examples": data.train.count,
            "controls": self._alone,
        }
        if isinstance(data.input, ImageInput):
            found["image"] = data.input.shape
        if self._sampled is not None:
            found["sample"] = self._sampled[0]
        if self._path is not None:
            found["points"] = self._points(self._path)
        return found

    def _points(self, path: "DescentPath") -> dict[str, Any]:
        """The data of a line, and what its mean squared error depends on."""
        train, column = self._data.train, path.column
        x = train.tensors(np.arange(train.count)).reshape(-1).astype(np.float64)
        y = np.asarray(train.targets, np.float64)
        some = np.linspace(0, len(x) - 1, min(len(x), _POINTS)).astype(int)
        return {
            "x": x[some],
            "y": y[some],
            "column": utf8_name(column.name),
            "target": utf8_name(self._data.target or "y"),
            "mean": column.mean,
            "scale": column.scale,
            "start": path.points[0],
            # Means of x², x, x·y, y and y².
            "moments": [(x * x).mean(), x.mean(), (x * y).mean(), y.mean(), (y * y).mean()],
        }

    # Snapshots.

    @property
    def _sampled(self) -> tuple[str, Part] | None:
        """The name of the part that the confusion matrix samples, and the part."""
        data = self._data
        if not 0 < len(data.labels) <= _CLASSES:
            return None
        enough = data.validation.count >= 5 * len(data.labels)
        return ("validation", data.validation) if enough else ("training", data.train)

    @cached_property
    def _sample(self) -> tuple[NDArray[np.float32], NDArray[Any]] | None:
        """Examples of the confusion matrix, read for the first snapshot: inputs and labels."""
        if self._sampled is None:
            return None
        _, part = self._sampled
        some = np.linspace(0, part.count - 1, min(part.count, _EXAMPLES)).astype(np.int64)
        return part.tensors(some), part.targets[some]

    def _snapshot(self, *, now: bool = False) -> None:
        """Record predictions of samples and weights; unless `now`, not more often than is cheap."""
        started = time.monotonic()
        network, seen = self._network, self._watched or self._page_open
        if network is None or not (self._snapshots and seen):
            return
        if started < self._next_snapshot and not now:
            return
        fields: dict[str, Any] = {}
        try:
            if self._sample is not None:
                inputs, labels = self._sample
                guesses = np.asarray(network.predict(inputs)).argmax(axis=1)
                count = len(self._data.labels)
                places = labels * count + guesses
                fields["confusion"] = np.bincount(places, minlength=count * count)
            fields |= self._images(network)
        except Exception:
            # An error here must not end a training.
            log.warning("Training continues without snapshots for its page", exc_info=True)
            self._snapshots = False
            return
        if fields:
            self.write("snapshot", **fields)
        ended = time.monotonic()
        # The first call of a network takes longer than all others.
        cost = 0.0 if self._next_snapshot == 0 else ended - started
        self._next_snapshot = ended + max(self._spacing(_SNAPSHOT_SECONDS), cost / _SNAPSHOT_SHARE)

    def _spacing(self, least: float) -> float:
        return max(least, _SPACING * (time.monotonic() - self._started))

    def _images(self, network: "Network") -> dict[str, Any]:
        """The first layer's weights as images, if the network takes images."""
        spec, model = self._data.input, self._config.model
        if not isinstance(spec, ImageInput) or model == "linear":
            return {}
        kernel = np.asarray(network.weights[0].numpy(), np.float32)
        if kernel.ndim == 2 and kernel.shape[0] == math.prod(spec.shape):
            kernel = kernel.reshape(*spec.shape, -1)
        if kernel.ndim != 4 or kernel.shape[2] not in (1, 3):
            return {}
        height, width, channels, count = kernel.shape
        if height * width > _PIXELS:
            return {}
        count = min(count, _IMAGES)
        images = np.moveaxis(kernel[..., :count], 3, 0)
        largest = float(np.abs(images).max()) or 1.0
        pixels = np.round(images / largest * 127).astype(np.int8)
        return {
            "images": {
                "shape": [count, height, width, channels],
                "largest": largest,
                "pixels": base64.b64encode(pixels.tobytes()).decode(),
            }
        }

    # Requests.

    def _follow_requests(self) -> None:
        self._check_page()
        for request in self._new_requests():
            self._follow(request)
        if self._paused:
            self._pause()

    def _check_page(self) -> None:
        """Look about once a second whether a page is open."""
        now = time.monotonic()
        if now < self._next_check:
            return
        self._next_check = now + 1.0
        try:
            touched = self._requests.stat().st_mtime
        except OSError:
            touched = 0.0
        self._page_open = time.time() - touched < _PAGE_SECONDS

    def _new_requests(self) -> list[dict[str, Any]]:
        if not self._alone:
            return []
        try:
            size = self._requests.stat().st_size
            if size <= self._read:
                return []
            with self._requests.open("rb") as file:
                file.seek(self._read)
                content = file.read(_MAX_REQUESTS_BYTES)
        except OSError:
            return []
        content = content[: content.rfind(b"\n") + 1]
        self._read += len(content)
        found = []
        for line in content.splitlines():
            with contextlib.suppress(orjson.JSONDecodeError):
                request = orjson.loads(line)
                if isinstance(request, dict):
                    found.append(request)
        return found

    def _follow(self, request: dict[str, Any]) -> None:
        network, rate = self._network, self._rate
        if network is None or rate is None:
            return
        match request:
            case {"action": "pause"}:
                self._paused = True
            case {"action": "resume"}:
                self._paused = self._one_epoch = False
            case {"action": "step"}:
                self._paused, self._one_epoch = False, True
            case {"action": "slow", "value": bool() as value}:
                self._slow = value
                self.write("slow", value=value)
            case {"action": "stop"}:
                self.stopped = network.stop_training = True
                self._paused = False
                self.write("stopping")
            case {"action": "rate", "value": int() | float() as value} if 0 < value < math.inf:
                rate.factor = value / rate.peak
                self.write("rate", value=value)
            case {"action": "draw", "png": str() as png}:
                self._draw(png)
            case {"action": "clear"}:
                self._drawing = None
                self.write("cleared")

    def _pause(self) -> None:
        self._paused = True
        self.write("paused")
        self._snapshot(now=True)
        forgotten = self._wait(math.inf)
        self._paused = False
        self.write("resumed", reason="no page was open" if forgotten else "")

    def _wait(self, seconds: float) -> bool:
        """Follow requests for a while, at most until one pauses or resumes.

        Returns:
            Whether it ended because no page was open for a minute.
        """
        started = page_seen = now = time.monotonic()
        paused = self._paused
        while now - started < seconds and self._paused == paused and not self.stopped:
            time.sleep(min(_POLL_SECONDS, seconds))
            now = time.monotonic()
            self._check_page()
            if self._page_open:
                page_seen = now
            elif now - page_seen > _PAUSE_SECONDS:
                break
            for request in self._new_requests():
                self._follow(request)
        self.waited += now - started
        return now - page_seen > _PAUSE_SECONDS

    def _draw(self, png: str) -> None:
        spec = self._data.input
        if not isinstance(spec, ImageInput):
            return
        try:
            image = prepare(base64.b64decode(png), spec, field="drawing")
        except (InvalidInputError, ValueError) as error:
            self.write("drawing", problem=str(error))
            return
        self._drawing, self._next_drawing = image[np.newaxis], 0.0
        shown = to_levels(image, *spec.range)
        self._predict_drawing(image=base64.b64encode(shown.tobytes()).decode())

    def _predict_drawing(self, **fields: Any) -> None:
        now, network = time.monotonic(), self._network
        if self._drawing is None or network is None or now < self._next_drawing:
            return
        try:
            scores = np.asarray(network.predict(self._drawing))[0]
        except Exception:  # likewise
            log.warning("Training continues without predicting the drawing", exc_info=True)
            self._drawing = None
            return
        self.write("drawing", scores=np.round(scores.astype(np.float64), 4), **fields)
        self._next_drawing = now + self._spacing(_DRAWING_SECONDS)
