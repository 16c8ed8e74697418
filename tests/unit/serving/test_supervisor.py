import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from rockstar_serving import ServeError
from rockstar_serving.supervisor import Child, Supervisor
from tests.waiting import until


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


SLEEPER = "import time; time.sleep(60)"


def test_a_child_that_dies_is_started_again(caplog):
    child = Child("sleeper", lambda: python(SLEEPER), lambda: True)
    supervisor = Supervisor([child])
    assert supervisor.start()
    watcher = threading.Thread(target=supervisor.watch)
    watcher.start()
    try:
        first = child.process
        assert first is not None
        os.kill(first.pid, signal.SIGKILL)
        until(lambda: child.process is not first)
        assert (
            "the sleeper ended (signal SIGKILL, perhaps because memory ran out): starting it"
            in caplog.text
        )
    finally:
        supervisor.stop()
        watcher.join()
        supervisor.shut_down()
    assert child.exit_code == -signal.SIGTERM


def test_a_child_that_ends_before_it_is_ready_is_an_error():
    supervisor = Supervisor([Child("failer", lambda: python("raise SystemExit(3)"), lambda: False)])
    with pytest.raises(ServeError, match=r"the failer did not start \(exit code 3\)"):
        supervisor.start()


def test_a_second_signal_kills_a_child_that_is_still_busy(tmp_path, caplog):
    deaf = tmp_path / "deaf"
    code = f"""
import pathlib, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path({str(deaf)!r}).touch()
time.sleep(60)
"""
    child = Child("sleeper", lambda: python(code), deaf.exists, stop_timeout=60)
    supervisor = Supervisor([child])
    with supervisor.signals():
        assert supervisor.start()
        os.kill(os.getpid(), signal.SIGINT)
        supervisor.watch()
        os.kill(os.getpid(), signal.SIGINT)
        supervisor.shut_down()
    assert child.exit_code == -signal.SIGKILL
    assert "SIGINT again: stopped at once" in caplog.text


def test_children_start_at_the_same_time(tmp_path):
    written = tmp_path / "written"
    code = f"import pathlib, time; pathlib.Path({str(written)!r}).touch(); time.sleep(60)"
    first = Child("first", lambda: python(SLEEPER), written.exists)
    supervisor = Supervisor([first, Child("second", lambda: python(code), lambda: True)])
    try:
        assert supervisor.start()
    finally:
        supervisor.shut_down()


def test_children_that_are_not_ready_in_time_are_an_error(monkeypatch):
    monkeypatch.setattr("rockstar_serving.supervisor.START_TIMEOUT_S", 0.01)
    children = [Child(name, lambda: python(SLEEPER), lambda: False) for name in ("one", "other")]
    supervisor = Supervisor(children)
    try:
        with pytest.raises(ServeError, match=r"not ready within 0.01 s: the one and the other"):
            supervisor.start()
    finally:
        supervisor.shut_down()


def test_a_child_that_always_dies_does_not_hold_up_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr("rockstar_serving.supervisor.FIRST_PAUSE_S", 0.01)
    starts: list[float] = []

    def command() -> list[str]:
        starts.append(time.monotonic())
        return python("pass")

    failer = Child("failer", command, lambda: True)
    sleeper = Child("sleeper", lambda: python(SLEEPER), lambda: True)
    supervisor = Supervisor([failer, sleeper])
    assert supervisor.start()
    watcher = threading.Thread(target=supervisor.watch)
    watcher.start()
    try:
        until(lambda: len(starts) > 2, what="the third start")
        first = sleeper.process
        assert first is not None
        failer.next_start = time.monotonic() + 60
        os.kill(first.pid, signal.SIGKILL)
        until(lambda: sleeper.process is not first)
    finally:
        supervisor.stop()
        watcher.join()
        supervisor.shut_down()


def test_what_a_killed_child_leaves_behind_is_stopped(tmp_path):
    """Workers of a gateway outlive it, until another one serves."""
    left = tmp_path / "left"
    code = (
        "import pathlib, subprocess, sys, time;"
        f"p = subprocess.Popen([sys.executable, '-c', {SLEEPER!r}]);"
        f"pathlib.Path({str(left)!r}).write_text(str(p.pid)); time.sleep(60)"
    )
    child = Child("parent", lambda: python(code), lambda: left.exists() and left.read_text())
    supervisor = Supervisor([child])
    assert supervisor.start()
    assert child.process is not None
    child.process.kill()
    until(lambda: child.exit_code is not None)
    assert is_running(left.read_text())
    supervisor.shut_down()
    until(lambda: not is_running(left.read_text()), what="its end")


def is_running(pid: str) -> bool:
    """Whether a process runs and is no zombie."""
    states = subprocess.run(["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True)
    return states.stdout[:1] not in ("", "Z")


def test_a_child_that_does_not_listen_is_killed(tmp_path, caplog):
    deaf = tmp_path / "deaf"
    code = (
        "import pathlib, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f"pathlib.Path({str(deaf)!r}).touch(); time.sleep(60)"
    )
    child = Child("deaf one", lambda: python(code), deaf.exists, stop_timeout=0.2)
    supervisor = Supervisor([child])
    supervisor.start()
    supervisor.shut_down()
    assert child.exit_code == -signal.SIGKILL
    assert "killed" in caplog.text


def test_a_stop_while_starting_ends_the_start():
    child = Child("slow one", lambda: python(SLEEPER), lambda: False)
    supervisor = Supervisor([child])
    supervisor.stop()
    assert not supervisor.start()
    supervisor.shut_down()
    assert child.exit_code is not None


def test_a_hangup_is_forwarded_to_processes_that_reload_files(tmp_path):
    ready, heard = tmp_path / "ready", tmp_path / "heard"
    code = (
        "import pathlib, signal, time;"
        f"signal.signal(signal.SIGHUP, lambda *_: pathlib.Path({str(heard)!r}).touch());"
        f"pathlib.Path({str(ready)!r}).touch(); time.sleep(60)"
    )
    sleeper = Child("sleeper", lambda: python(SLEEPER), lambda: True)
    reader = Child("reader", lambda: python(code), ready.exists, reloads=True)
    supervisor = Supervisor([sleeper, reader])
    with supervisor.signals():
        assert supervisor.start()
        try:
            os.kill(os.getpid(), signal.SIGHUP)
            until(heard.exists)
            assert sleeper.exit_code is None
        finally:
            supervisor.shut_down()


def test_how_memory_is_kept_is_for_the_user_to_say(tmp_path, monkeypatch):
    said = tmp_path / "said"
    code = (
        "import os, pathlib, time;"
        f"pathlib.Path({str(said)!r}).write_text(os.environ['MALLOC_ARENA_MAX']); time.sleep(60)"
    )
    monkeypatch.setenv("MALLOC_ARENA_MAX", "7")
    supervisor = Supervisor([Child("child", lambda: python(code), said.exists)])
    try:
        assert supervisor.start()
        until(lambda: said.read_text() == "7")
    finally:
        supervisor.shut_down()
