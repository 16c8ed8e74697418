import fcntl
import json
import shutil
import signal
import subprocess
import sys

import pytest

from rockstar_cli import watch as module
from rockstar_cli.watch import WatchPage, serve_page
from tests.command_line import invoke

FILE = {"event": "file", "id": "a1"}
EPOCH = {"event": "epoch", "epoch": 1, "loss": 0.5}


def write_run(folder, *events):
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "events.jsonl").open("a") as file:
        file.writelines(json.dumps(event) + "\n" for event in events)
    (folder / "requests.jsonl").touch()
    return folder


@pytest.fixture
def runs(tmp_path):
    return tmp_path / "runs"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "_STATE_SECONDS", 0.02)
    monkeypatch.setattr(module, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr(module, "_LAST_SECONDS", 0.05)


@pytest.fixture
def running(runs):
    """A run whose process is alive: it holds the lock."""
    folder = write_run(runs / ".unfinished" / "cnn-0a", FILE, EPOCH)
    with (folder / "events.jsonl").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield folder


def messages(response):
    """The messages of a stream, as they arrive: their ids and data."""
    key = None
    for chunk in response.response:
        for line in chunk.decode().splitlines():
            if line.startswith("id: "):
                key = line[4:]
            elif line.startswith("data: "):
                yield key, json.loads(line[6:])


def until_state(response, state):
    """All events until a run has this state."""
    found = []
    for _, data in messages(response):
        found += data["events"]
        if data.get("state") == state:
            return found
    raise AssertionError(f"never {state}")


@pytest.fixture
def open_page():
    """A function that opens the page of runs, and its client."""
    pages = []

    def open_page(runs, *shown):
        pages.append(WatchPage(runs, shown))
        return pages[-1], pages[-1].app.test_client()

    yield open_page
    for page in pages:
        page.close()


def post(client, token, message, query=""):
    return client.post(f"/requests{query}", json=message, headers={"X-Token": token})


def test_a_page_opened_late_gets_the_history_then_new_events(runs, running, open_page):
    _, client = open_page(runs, running)
    stream = messages(client.get("/events"))
    assert "token" in next(stream)[1]
    key, data = next(stream)
    assert (data["run"], data["events"]) == (0, [FILE, EPOCH])
    assert next(stream)[1] == {"run": 0, "state": "running", "name": "cnn-0a", "events": []}
    later = EPOCH | {"epoch": 2}
    write_run(running, later)
    assert next(stream)[1]["events"] == [later]
    # A page that reconnects gets only what it does not have.
    again = client.get("/events", headers={"Last-Event-ID": key})
    assert until_state(again, "running") == [later]
    assert until_state(client.get(f"/events?last={key}"), "running") == [later]


@pytest.mark.parametrize("last", ["b2:40", "nonsense", "a1:x", "a1:1 b1:2"])
def test_a_page_of_another_training_gets_everything(runs, running, last, open_page):
    _, client = open_page(runs, running)
    stream = client.get("/events", headers={"Last-Event-ID": last})
    assert until_state(stream, "running") == [FILE, EPOCH]


def test_a_training_that_starts_over_is_sent_anew(runs, running, open_page):
    _, client = open_page(runs, running)
    stream = client.get("/events")
    until_state(stream, "running")
    with (running / "events.jsonl").open("r+") as file:
        file.truncate()
    write_run(running, FILE | {"id": "b2"})
    assert next(messages(stream))[1]["events"] == [FILE | {"id": "b2"}]


def test_incomplete_lines_wait(runs, open_page):
    folder = write_run(runs / "cnn-1", FILE)
    with (folder / "events.jsonl").open("a") as file:
        file.write('{"event":"ep')
    _, client = open_page(runs, folder)
    assert until_state(client.get("/events"), "ended") == [FILE]


def test_damaged_lines_are_left_out(runs, open_page):
    folder = write_run(runs / "cnn-1", FILE)
    with (folder / "events.jsonl").open("ab") as file:
        file.write(b"\xff\x00\n[]\n\n{no JSON}\n")
    write_run(folder, EPOCH)
    _, client = open_page(runs, folder)
    assert until_state(client.get("/events"), "ended") == [FILE, EPOCH]
    (folder / "events.jsonl").write_text("[]\n")
    assert until_state(client.get("/events"), "ended") == []


def test_a_killed_training_has_ended_and_a_removed_run_is_removed(runs, open_page):
    folder = write_run(runs / "cnn-1", FILE)
    _, client = open_page(runs, folder)
    stream = client.get("/events")
    until_state(stream, "ended")
    shutil.rmtree(folder)
    until_state(stream, "removed")


def test_a_run_can_be_read_after_its_folder_moved(runs, running, open_page):
    page, client = open_page(runs)
    page.show(running)
    shutil.move(running, runs / "cnn-1")
    stream = messages(client.get("/events"))
    assert "token" in next(stream)[1]
    assert next(stream)[1]["events"] == [FILE, EPOCH]
    assert next(stream)[1]["state"] == "running"
    assert post(client, page.token, {"action": "pause"}).status_code == 409


def test_two_runs_side_by_side(runs, open_page):
    folders = [write_run(runs / name, FILE | {"id": name}) for name in ("cnn-1", "mlp-1")]
    _, client = open_page(runs, *folders)
    found = {}
    for _, data in messages(client.get("/events")):
        if data.get("run") is not None:
            found.setdefault(data["run"], []).extend(data["events"])
        if data.get("state") == "ended" and data["run"] == 1:
            break
    assert [found[number][0]["id"] for number in (0, 1)] == ["cnn-1", "mlp-1"]
    one = until_state(client.get("/events?run=mlp-1"), "ended")
    assert one == [FILE | {"id": "mlp-1"}]


@pytest.mark.parametrize("name", ["none", "../runs", "", ".", "..%2f.."])
def test_an_unknown_run_is_missing(runs, name, open_page):
    write_run(runs / "cnn-1", FILE)
    _, client = open_page(runs)
    stream = messages(client.get(f"/events?run={name}"))
    next(stream)
    assert next(stream)[1]["state"] == "missing"


def test_requests_reach_the_training(runs, running, open_page):
    page, client = open_page(runs, running)
    assert post(client, page.token, {"action": "rate", "value": 0.1}).status_code == 202
    (line,) = (running / "requests.jsonl").read_text().splitlines()
    assert json.loads(line) == {"action": "rate", "value": 0.1, "png": None}


def test_an_open_page_is_noticed(runs, running, open_page):
    old = (running / "requests.jsonl").stat().st_mtime_ns
    _, client = open_page(runs, running)
    until_state(client.get("/events"), "running")
    assert (running / "requests.jsonl").stat().st_mtime_ns > old


@pytest.mark.parametrize(
    ("message", "status"),
    [
        ({"action": "explode"}, 400),
        ({"action": "rate", "value": "much"}, 400),
        ({"action": "pause", "more": 1}, 400),
        ([], 400),
        ({"action": "draw", "png": "x" * 2**20}, 413),
    ],
)
def test_other_requests_are_rejected(runs, running, message, status, open_page):
    page, client = open_page(runs, running)
    assert post(client, page.token, message).status_code == status
    assert (running / "requests.jsonl").read_text() == ""


def test_only_the_page_can_make_requests(runs, running, open_page):
    _, client = open_page(runs, running)
    assert client.post("/requests", json={"action": "stop"}).status_code == 403
    assert post(client, "é", {"action": "stop"}).status_code == 403
    for host in (
        "evil.example",
        "evil.example:6010",
        "127.0.0.1.evil.example",
        "localhost.evil:80",
    ):
        assert client.get("/", headers={"Host": host}).status_code == 403
        assert client.get("/events", headers={"Host": host}).status_code == 403
    for host in ("localhost", "localhost:9000", "127.0.0.1:1", "[::1]:6010"):
        assert client.get("/", headers={"Host": host}).status_code == 200


def test_an_ended_training_takes_no_requests(runs, open_page):
    folder = write_run(runs / "cnn-1", FILE)
    page, client = open_page(runs, folder)
    response = post(client, page.token, {"action": "stop"})
    assert (response.status_code, response.json) == (409, {"error": "The training has ended."})


def test_the_page_loads_nothing_from_elsewhere(runs, open_page):
    _, client = open_page(runs)
    page = client.get("/", buffered=True)
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'self'; img-src 'self' data:;")
    assert "unsafe" not in policy
    for name in ("watch.js", "charts.js", "panels.js", "watch.css", "drawing.js", "page.css"):
        response = client.get(f"/static/{name}")
        assert response.status_code == 200
        assert "//" not in response.text.replace("http://www.w3.org/2000/svg", "").replace(
            "// ", ""
        )
    assert client.get("/static/../watch.py").status_code == 404
    assert client.get("/static/page.js").status_code == 404


def test_a_taken_port_is_no_problem(runs):
    with serve_page(runs, []) as (first, _), serve_page(runs, []) as (second, _):
        assert first != second
        assert None not in (first, second)


def test_without_any_port_training_goes_on(runs, monkeypatch, capsys):
    def refuse(_):
        raise OSError("no")

    monkeypatch.setattr(module.socket, "create_server", refuse)
    with serve_page(runs, []) as (url, show):
        show(runs / "cnn-1")
    assert url is None
    assert capsys.readouterr().err == "Cannot serve the page: no port is free.\n"


def test_no_run_gets_a_sentence(tmp_path):
    nothing = invoke("watch", "--workdir", tmp_path)
    assert nothing.exit_code == 1
    assert "no runs in" in nothing.stderr
    write_run(tmp_path / "runs" / "cnn-1", FILE)
    unknown = invoke("watch", "mlp", "--workdir", tmp_path)
    assert unknown.exit_code == 1
    assert "or the folder of one, got 'mlp'; there: cnn-1" in unknown.stderr
    three = invoke("watch", "cnn", "cnn", "cnn", "--workdir", tmp_path)
    assert three.exit_code == 2
    assert "at most two runs" in three.stderr


def test_the_command_serves_until_ctrl_c(tmp_path):
    write_run(tmp_path / "runs" / "cnn-1", FILE)
    command = [sys.executable, "-m", "rockstar_cli", "watch", "--json", "--workdir", tmp_path]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        found = json.loads(process.stdout.readline())
        assert found["runs"] == [str(tmp_path / "runs" / "cnn-1")]
        assert found["url"].startswith("http://127.0.0.1:")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert "Traceback" not in process.stderr.read()
