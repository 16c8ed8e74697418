"""A page that shows a training while it runs, and again later.

The page reads a run's events.jsonl as server-sent events, and writes into its requests.jsonl;
`rockstar_training.live` is the other side. So it works from the training's own process, as
`rockstar train --watch`, and from any other one, as `rockstar watch`.

The server listens on loopback only. It rejects requests under other host names, which an attacker's
page could make the browser resolve to loopback, and accepts instructions with a secret only, which
other origins cannot read.
"""

import contextlib
import errno
import fcntl
import logging
import mimetypes
import os
import secrets
import socket
import sys
import threading
import time
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import click
import msgspec
import orjson
from flask import Flask, Response, abort, jsonify, request
from werkzeug.serving import make_server

from rockstar_training.errors import TrainingError
from rockstar_training.runs import EVENTS_FILE, REQUESTS_FILE, run_folders

# Tried in this order, then any free one.
_PORTS = range(6010, 6020)
_HOSTS = ("127.0.0.1", "localhost", "[::1]")
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; object-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_STATIC = Path(str(files("rockstar_cli") / "watch_page"))
# The drawing area and the look are those of the gateway's page.
_SHARED = Path(str(files("rockstar_serving.gateway") / "pages" / "static"))
_SHARED_FILES = ("drawing.js", "samples.js", "page.css", "icon.svg")
_CHUNK_BYTES = 256 * 2**10
_MAX_REQUEST_BYTES = 2**20
_POLL_SECONDS, _STATE_SECONDS = 0.1, 1.0
# How long a training's process waits for pages to receive the last events.
_LAST_SECONDS = 2.0
# Runs that are shown side by side.
AT_ONCE = 2

log = logging.getLogger(__name__)


class Request(msgspec.Struct, forbid_unknown_fields=True):
    """What a page asks of a training."""

    action: Literal["pause", "resume", "step", "slow", "stop", "rate", "draw", "clear"]
    value: float | bool | None = None
    png: str | None = None


class RunEvents:
    """The events of one run, which may still be written, moved or removed meanwhile."""

    def __init__(self, folder: Path) -> None:
        """Open the events of a run; raises OSError."""
        self.folder, self.path = folder, folder / EVENTS_FILE
        self._file = self.path.open("rb")

    def id(self) -> str:
        """Return what changes when a training starts over; "" before it starts."""
        line = os.pread(self._file.fileno(), 200, 0).partition(b"\n")[0]
        with contextlib.suppress(orjson.JSONDecodeError, AttributeError):
            return str(orjson.loads(line).get("id", ""))
        return ""

    def read(self, offset: int) -> bytes:
        """Return complete lines from an offset on, at most a chunk; b"" if there are none."""
        content = os.pread(self._file.fileno(), _CHUNK_BYTES, offset)
        return content[: content.rfind(b"\n") + 1]

    def state(self) -> str:
        """Return "running" while a process writes events, "removed", or else "ended"."""
        if os.fstat(self._file.fileno()).st_nlink == 0:
            return "removed"
        try:
            fcntl.flock(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return "running"
        fcntl.flock(self._file, fcntl.LOCK_UN)
        return "ended"

    def is_replaced(self) -> bool:
        """Return whether there is another file in its place by now."""
        try:
            return not os.path.samestat(os.fstat(self._file.fileno()), self.path.stat())
        except OSError:
            return False

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def keep_open(self) -> None:
        """Let the training know that a page is open."""
        with contextlib.suppress(OSError):
            os.utime(self.folder / REQUESTS_FILE)

    def send(self, message: bytes) -> None:
        """Append a line to the requests.

        An OSError means that the training has ended and its folder moved, or the disk is full.
        """
        path = self.folder / REQUESTS_FILE
        with open(os.open(path, os.O_WRONLY | os.O_APPEND), "ab", buffering=0) as file:
            file.write(message + b"\n")


class WatchPage:
    """The page of a folder of runs, as a Flask application, and what it shows at first."""

    def __init__(self, runs: Path, shown: Sequence[Path] = ()) -> None:
        """Serve runs of a folder, and those shown at first, wherever they are.

        Raises a TrainingError if one of those cannot be read.
        """
        self.token = secrets.token_urlsafe(16)
        self._closing = threading.Event()
        self._streams = 0  # that are open
        self._runs, self._shown = runs, list(shown)
        self._lock = threading.Lock()
        self._open: dict[Path, RunEvents] = {}
        for folder in shown:
            try:
                self._open[folder] = RunEvents(folder)
            except OSError as error:
                raise TrainingError(f"cannot read the run {folder}: {error}") from error
        self.app = self._create_app()

    def close(self) -> None:
        """End all streams, after what the trainings wrote last."""
        self._closing.set()
        deadline = time.monotonic() + _LAST_SECONDS
        while self._streams and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS / 2)
        with self._lock:
            for run in self._open.values():
                run.close()

    def show(self, folder: Path) -> None:
        """Show a run whose training starts now."""
        # A page may first be opened when the training has ended, and its folder has moved.
        self._opened(folder)
        self._shown.append(folder)

    def _create_app(self) -> Flask:
        app = Flask(__name__, static_folder=None)
        app.config["MAX_CONTENT_LENGTH"] = _MAX_REQUEST_BYTES
        app.before_request(_require_loopback)
        app.after_request(_add_headers)
        app.get("/")(lambda: _static("index.html"))
        app.get("/static/<name>")(_static)
        app.get("/runs")(self._list)
        app.get("/events")(self._events)
        app.post("/requests")(self._request)
        return app

    def _list(self) -> Response:
        """List the runs that can be shown: those that train now, then the newest."""
        return jsonify(names=[path.name for path in run_folders(self._runs)])

    def _chosen(self) -> list[Path]:
        """Return the folders of the runs in the query, or those shown at first."""
        names = request.args.getlist("run")
        if not names:
            return self._shown[:AT_ONCE]
        known = {path.name: path for path in [*run_folders(self._runs), *self._shown]}
        return [known[name] for name in names[:AT_ONCE] if name in known]

    def _opened(self, folder: Path) -> RunEvents | None:
        """Open a run once, so that pages can read it when its folder is moved or removed."""
        with self._lock:
            run = self._open.get(folder)
            if run is not None and not run.is_replaced():
                return run
            try:
                self._open[folder] = RunEvents(folder)
            except OSError as error:
                log.debug("%s cannot be read: %s", folder, error)
                return None
            return self._open[folder]

    def _events(self) -> Response:
        """Stream the events of runs; each message has the events of one run."""
        folders, last = (
            self._chosen(),
            request.headers.get("Last-Event-ID") or request.args.get("last", ""),
        )
        named = bool(request.args.getlist("run"))
        return Response(self._stream(folders, last.split(), named), mimetype="text/event-stream")

    def _stream(self, folders: list[Path], last: list[str], named: bool) -> Iterator[str]:
        with self._lock:
            self._streams += 1
        try:
            yield "retry: 2000\n" + _message({"token": self.token})
            while not folders and not named and not self._closing.is_set():
                # The training has not begun.
                yield _message({"state": "preparing"})
                self._closing.wait(_STATE_SECONDS)
                folders = self._shown[:AT_ONCE]
            yield from self._follow(folders, last)
        finally:
            with self._lock:
                self._streams -= 1

    def _follow(self, folders: list[Path], last: list[str]) -> Iterator[str]:
        places = [("", 0)] * len(folders)
        if len(last) == len(folders):
            parts = (each.rpartition(":") for each in last)
            places = [(key, int(at) if at.isdecimal() else 0) for key, _, at in parts]
        states, checked = [""] * len(folders), 0.0
        if not folders:
            yield _message({"state": "missing"})
        while True:
            ended, quiet = self._closing.is_set(), True
            check = time.monotonic() - checked > _STATE_SECONDS or ended
            for number, folder in enumerate(folders):
                run = self._opened(folder)
                found = run.state() if run is not None and check else states[number]
                if run is None:
                    found = "missing"
                elif content := run.read(_place(run, places, number)):
                    key, start = places[number]
                    places[number] = (key, start + len(content))
                    reached = " ".join(f"{key}:{start}" for key, start in places)
                    yield f"id: {reached}\n" + _message({"run": number}, content)
                    quiet = False
                if check and run is not None and found == "running":
                    run.keep_open()
                # What the training wrote last comes first; while it runs, it may always have more.
                if (quiet or found == "running") and found != states[number]:
                    states[number] = found
                    yield _message({"run": number, "state": found, "name": folder.name})
            if quiet and ended:
                return
            if check:
                checked = time.monotonic()
                # Writing shows whether the page is still there.
                yield ":\n\n"
            if quiet:
                self._closing.wait(_POLL_SECONDS)

    def _request(self) -> tuple[Response, int]:
        """Pass an instruction of the page to a training."""
        given = request.headers.get("X-Token", "")
        if not secrets.compare_digest(given.encode(), self.token.encode()):
            return jsonify(error="X-Token: expected the token of this page; reload it"), 403
        try:
            wanted = msgspec.json.decode(request.get_data(), type=Request)
        except msgspec.DecodeError as error:
            return jsonify(error=f"expected an instruction as JSON: {error}"), 400
        folders = self._chosen()
        run = self._opened(folders[0]) if folders else None
        if run is None or run.state() != "running":
            return jsonify(error="The training has ended."), 409
        try:
            run.send(msgspec.json.encode(wanted))
        except OSError as error:
            return jsonify(error=f"The training cannot be reached: {error.strerror}."), 409
        return jsonify(), 202


def _place(run: RunEvents, places: list[tuple[str, int]], number: int) -> int:
    """Return where to read on: at the start if the training started over."""
    key = run.id()
    if key != places[number][0]:
        places[number] = (key, 0)
    return places[number][1]


def _message(fields: dict[str, Any], lines: bytes = b"") -> str:
    """Format a server-sent event: an object, with events from lines of JSON."""
    events = []
    for line in lines.splitlines():
        # A damaged file may have anything.
        with contextlib.suppress(orjson.JSONDecodeError):
            if isinstance(event := orjson.loads(line), dict):
                events.append(event)
    return f"data: {orjson.dumps({**fields, 'events': events}).decode()}\n\n"


def _static(name: str) -> Response:
    path = (_SHARED if name in _SHARED_FILES else _STATIC) / name
    if not path.is_file():
        abort(404)
    return Response(path.read_bytes(), mimetype=mimetypes.guess_type(name)[0])


def _require_loopback() -> None:
    host = request.host.rpartition(":")[0] if request.host[-1:].isdigit() else request.host
    if host not in _HOSTS:
        abort(Response("This page is served under 127.0.0.1 and localhost only.\n", 403))


def _add_headers(response: Response) -> Response:
    response.headers.update(_HEADERS)
    return response


@contextlib.contextmanager
def serve_page(
    runs: Path, shown: Sequence[Path]
) -> Iterator[tuple[str | None, Callable[[Path], None]]]:
    """Serve the page in a thread, print its URL, and open it.

    Yields:
        The URL, None if no port is free; and a function that shows a run whose training starts.
    """
    page = WatchPage(runs, shown)
    # It would log each request.
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    try:
        listener = _listen()
    except OSError as error:
        click.echo(f"Cannot serve the page: {error.strerror}.", err=True)
        yield None, page.show
        return
    with listener:
        server = make_server("127.0.0.1", 0, page.app, threaded=True, fd=listener.fileno())
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        click.echo(f"Watch at {url}", err=True)
        _open_browser(url)
        try:
            yield url, page.show
        finally:
            page.close()
            server.shutdown()
            thread.join()
            server.server_close()


def _listen() -> socket.socket:
    for port in (*_PORTS, 0):
        with contextlib.suppress(OSError):
            return socket.create_server(("127.0.0.1", port))
    raise OSError(errno.EADDRINUSE, "no port is free")


def _open_browser(url: str) -> None:
    """Open the page, if there is a screen; a browser in the terminal would take it over."""
    screen = sys.platform == "darwin" or "DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ
    if screen and sys.stderr.isatty():
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
