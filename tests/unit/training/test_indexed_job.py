import contextlib
import json
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from click.testing import CliRunner

from rockstar_training.errors import ConfigError, TrainingError
from rockstar_training.indexed_job import is_chief, main, meet, tf_config, worker_addresses
from tests.ports import free_ports
from tests.waiting import until

ADDRESS = "training-{index}.training:2222"
TWO = ["training-0.training:2222", "training-1.training:2222"]


def test_each_worker_has_its_own_name_in_the_service():
    assert worker_addresses(ADDRESS, 2) == TWO
    assert worker_addresses("127.0.0.1:2345{index}", 2) == ["127.0.0.1:23450", "127.0.0.1:23451"]


@pytest.mark.parametrize(
    "template",
    [
        *("training:2222", "training-{index}", "{host}-{index}:1", "training-{}:1"),
        *("a-{index}:70000", "{"),
    ],
)
def test_an_impossible_address_is_an_error(template):
    done = CliRunner().invoke(main, ["--workers=2", f"--address={template}", "--index=0", "true"])
    assert done.exit_code == 1
    assert "address: expected HOST:PORT with {index} in it" in done.output
    assert repr(template) in done.output


def test_the_document_names_all_workers_and_this_one():
    assert json.loads(json.dumps(tf_config(TWO, 1))) == {
        "cluster": {"worker": TWO},
        "task": {"type": "worker", "index": 1},
    }


def test_the_index_is_that_of_the_job():
    arguments = ["--workers=2", f"--address={ADDRESS}", "true"]
    done = CliRunner().invoke(main, arguments, env={"JOB_COMPLETION_INDEX": "2"})
    assert done.exit_code == 1
    assert "index: expected 0 to 1, since there are 2 workers, got 2" in done.output
    done = CliRunner().invoke(main, arguments, env={"JOB_COMPLETION_INDEX": None})
    assert done.exit_code == 2
    assert "Missing option '--index'" in done.output


def test_workers_that_come_one_after_the_other_meet():
    addresses = [f"127.0.0.1:{port}" for port in free_ports(3)]
    with ThreadPoolExecutor(3) as pool:
        # Another connection to worker 0's port is none of a worker.
        met = [pool.submit(meet, addresses, index, 60.0) for index in (2, 0)]
        until(lambda: connects(addresses[0]))
        met.append(pool.submit(meet, addresses, 1, 60.0))
        links = [each.result() for each in met]
    assert [set(each) for each in links] == [{0}, {1, 2}, {0}]
    # Training binds the port again while the connections are open.
    socket.create_server(("", int(addresses[0].rpartition(":")[2]))).close()
    for link in (link for each in links for link in each.values()):
        link.close()


def connects(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port))) as link:
        link.sendall(b"GET / HTTP/1.1\r\n\r\n")
        return link.recv(64) == b""
    return False


@pytest.mark.parametrize(
    ("first", "index", "missing"),
    [
        ("127.0.0.1:{0}", 0, "worker 1 at 127.0.0.1:{1}, worker 2 at training-2.invalid:2222"),
        ("127.0.0.1:{0}", 1, "worker 0 at 127.0.0.1:{0} (Connection refused)"),
        ("a.invalid:2222", 1, "worker 0 at a.invalid:2222 (its name is not known yet)"),
    ],
)
def test_missing_workers_are_named_while_waiting_and_at_the_end(caplog, first, index, missing):
    ports = free_ports(2)
    addresses = [first.format(*ports), f"127.0.0.1:{ports[1]}", "training-2.invalid:2222"]
    with caplog.at_level("INFO"), pytest.raises(TrainingError) as raised:
        meet(addresses, index, 1e-9)
    for text in (caplog.text, str(raised.value)):
        assert missing.format(*ports) in text


def test_a_port_in_use_is_an_error():
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        done = CliRunner().invoke(
            main, ["--workers=1", f"--address={{index}}:{port}", "--index=0", "true"]
        )
    assert done.exit_code == 1
    assert f"cannot listen on this worker's port {port}" in done.output


def test_a_missing_command_is_an_error():
    (port,) = free_ports(1)
    done = CliRunner().invoke(
        main, ["--workers=1", f"--address={{index}}:{port}", "--index=0", "no-such-command"]
    )
    assert done.exit_code == 1
    assert "cannot run no-such-command: No such file" in done.output


WORKERS = {"worker": ["a:1", "b:1"]}


@pytest.mark.parametrize(
    ("cluster", "kind", "index", "chief"),
    [
        (WORKERS, "worker", 0, True),
        (WORKERS, "worker", 1, False),
        (WORKERS | {"chief": ["c:1"]}, "worker", 0, False),
        (WORKERS | {"chief": ["c:1"]}, "chief", 0, True),
    ],
)
def test_one_of_the_workers_publishes(monkeypatch, cluster, kind, index, chief):
    task = {"type": kind, "index": index}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
    assert is_chief() is chief


def test_a_single_worker_publishes(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert is_chief()


@pytest.mark.parametrize(
    "document",
    [
        "{",
        "[]",
        '{"cluster": {}}',
        '{"cluster": {"worker": []}, "task": {"type": "worker", "index": 0}}',
    ],
)
def test_an_invalid_tf_config_is_an_error(monkeypatch, document):
    monkeypatch.setenv("TF_CONFIG", document)
    with pytest.raises(ConfigError, match="TF_CONFIG: expected"):
        is_chief()
