import os
import signal
import sys
import threading

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
        assert "the sleeper ended (signal SIGKILL): starting it again" in caplog.text
    finally:
        supervisor.stop()
        watcher.join()
        supervisor.shut_down()
    assert child.exit_code == -signal.SIGTERM


def test_a_child_that_ends_before_it_is_ready_is_an_error():
    supervisor = Supervisor([Child("failer", lambda: python("raise SystemExit(3)"), lambda: False)])
    with pytest.raises(ServeError, match=r"the failer did not start \(exit code 3\)"):
        supervisor.start()


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


def test_a_child_that_always_dies_is_given_up(monkeypatch):
    monkeypatch.setattr("rockstar_serving.supervisor.MAX_QUICK_DEATHS", 2)
    supervisor = Supervisor([Child("failer", lambda: python("pass"), lambda: True)])
    supervisor.start()
    with pytest.raises(ServeError, match="the failer ended 2 times in a row"):
        supervisor.watch()


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
