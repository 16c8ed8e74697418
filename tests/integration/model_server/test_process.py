"""The server as a process: start, failures to start, stop."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.certificates import AUTHORITY, chain_of, issued, key_of, write_ssl_config
from tests.command_line import serving
from tests.command_line import start as start_command
from tests.integration.model_server.conftest import Start, ask
from tests.model_fixtures import write_version


def test_start_and_stop(start: Start, base_path: Path) -> None:
    process = start(
        *("--model_name=toy", f"--model_base_path={base_path}", "--port=auto"),
        "--rest_api_port=auto",
    )
    address = process.address()
    assert address["pid"] == process.popen.pid
    assert address["grpc"].startswith("127.0.0.1:")
    assert ask(address["rest"], "/v1/models/toy")[0] == 200
    process.popen.send_signal(signal.SIGTERM)
    code, log = process.finish()
    assert code == 0
    assert "INFO model_server: engine of a version: " in log
    # Scripts wait for these lines.
    assert f"Running gRPC ModelServer at {address['grpc']} ..." in log
    port = address["rest"].rpartition(":")[2]
    assert f"Exporting HTTP/REST API at:localhost:{port} ..." in log
    assert "INFO model_server: model toy version 1 is available (LiteRT, " in log
    assert "Traceback" not in log
    assert not process.address_file.exists()


def test_one_protocol_only(start: Start, base_path: Path) -> None:
    process = start(f"--model_base_path={base_path}", "--port=auto")
    assert process.address()["rest"] is None
    process.popen.send_signal(signal.SIGINT)
    assert process.finish()[0] == 0


def test_a_config_file(start: Start, base_path: Path, tmp_path: Path) -> None:
    config = tmp_path / "models.config"
    write_version(tmp_path / "other", 4)
    config.write_text(
        f"""model_config_list {{
          config {{ name: "a" base_path: "{base_path}" model_platform: "tensorflow" }}
          config {{
            name: "b" base_path: "{tmp_path}/other" model_platform: "tensorflow"
            version_labels {{ key: "stable" value: 4 }}
          }}
        }}"""
    )
    process = start(
        *(f"--model_config_file={config}", "--port=0", "--rest_api_port=auto"),
        "--allow_version_labels_for_unavailable_models",
    )
    address = process.address()
    assert address["grpc"] is None
    for path in ("a", "b", "b/labels/stable"):
        assert ask(address["rest"], f"/v1/models/{path}")[0] == 200


def test_a_corrupt_newest_version_falls_back(start: Start, base_path: Path) -> None:
    write_version(base_path, 2, b"half a model")
    process = start(f"--model_base_path={base_path}", "--port=0", "--rest_api_port=auto")
    status, answer = ask(process.address()["rest"], "/v1/models/default")
    assert status == 200
    assert [(v["version"], v["state"]) for v in answer["model_version_status"]] == [
        ("2", "END"),
        ("1", "AVAILABLE"),
    ]
    process.popen.terminate()
    log = process.finish()[1]
    assert "model default serves version 1, because version 2 does not load" in log


def failure(start: Start, *flags: str) -> list[str]:
    process = start(*flags, "--wait_for_models=false")
    code, log = process.finish()
    assert code == 1
    assert not process.address_file.exists()
    return [line for line in log.splitlines() if " ERROR " in line]


def test_the_start_waits_for_the_first_version(start: Start, tmp_path: Path) -> None:
    """Sidecar containers that fetch models rely on it, as with TensorFlow Serving."""
    process = start(f"--model_base_path={tmp_path}/m", "--port=0", "--rest_api_port=auto")
    assert process.popen.stderr is not None
    for line in process.popen.stderr:
        if "waiting for model 'default'" in line:
            break
    assert f"({tmp_path}/m): the base path cannot be read: No such file" in line
    assert not process.address_file.exists()
    write_version(tmp_path / "m", 1)
    assert ask(process.address()["rest"], "/v1/models/default")[0] == 200


def test_a_start_that_waits_ends_with_sigterm(start: Start, tmp_path: Path) -> None:
    process = start(f"--model_base_path={tmp_path}/m", "--port=auto")
    assert process.popen.stderr is not None
    next(line for line in process.popen.stderr if "waiting for model 'default'" in line)
    process.popen.terminate()
    assert process.finish()[0] == 0


def test_no_version_that_loads(start: Start, tmp_path: Path) -> None:
    write_version(tmp_path / "m", 1, b"garbage").joinpath("model.tflite").unlink()
    write_version(tmp_path / "m", 2, b"garbage")
    lines = failure(start, f"--model_base_path={tmp_path}/m")
    assert "no version loads" in lines[-1]
    assert "m/1 holds nothing that can be loaded: no saved_model.pb or" in lines[-1]
    assert "; no model.tflite for LiteRT (export the model with its LiteRT file" in lines[-1]
    assert "m/2/model.tflite is not a LiteRT model" in lines[-1]


def test_an_invalid_file(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    file.write_text("nonsense")
    (line,) = failure(start, f"--model_config_file={file}", "--port=0", "--rest_api_port=auto")
    assert f"model config file {file}: Error parsing text-format" in line


def test_two_servers_do_not_share_a_port(start: Start, base_path: Path) -> None:
    first = start(f"--model_base_path={base_path}", "--port=auto")
    port = first.address()["grpc"].rsplit(":")[-1]
    lines = [
        *(sys.executable, "-m", "rockstar_serving.model_server", f"--model_base_path={base_path}"),
        *("--host=127.0.0.1", f"--port={port}"),
    ]
    second = subprocess.run(lines, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 1
    assert f"127.0.0.1:{port} (--port): Address already in use" in second.stderr


def test_grpc_flags_together(start: Start, base_path: Path, tmp_path: Path) -> None:
    """TLS on a UNIX socket only, with health checks."""
    certificate = issued("localhost")
    ssl_config = write_ssl_config(
        tmp_path / "ssl.config", server_key=key_of(certificate), server_cert=chain_of(certificate)
    )
    process = start(
        *(f"--model_base_path={base_path}", "--port=0", f"--grpc_socket_path={tmp_path}/m.sock"),
        *(f"--ssl_config_file={ssl_config}", "--enable_grpc_healthcheck_service"),
        *("--grpc_channel_arguments=grpc.max_connection_age_ms=60000", "--enable_profiler"),
    )
    address = process.address()
    assert address["grpc"] is address["rest"] is None
    credentials = grpc.ssl_channel_credentials(AUTHORITY().cert_pem.bytes())
    name = ("grpc.ssl_target_name_override", "localhost")
    with grpc.secure_channel(f"unix:{tmp_path}/m.sock", credentials, [name]) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        answer = health.Check(health_pb2.HealthCheckRequest(service="ModelService"), timeout=30)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    process.popen.terminate()
    code, log = process.finish()
    assert code == 0
    assert f"ready: gRPC with TLS on unix:{tmp_path}/m.sock" in log
    assert log.count("--enable_profiler (there is no profiler service)") == 1
    assert not (tmp_path / "m.sock").exists()


def test_json_logs(start: Start, base_path: Path) -> None:
    process = start(f"--model_base_path={base_path}", "--port=auto", "--log_format=json")
    address = process.address()["grpc"]
    process.popen.terminate()
    entries = [json.loads(line) for line in process.finish()[1].splitlines() if line[0] == "{"]
    assert {"timestamp", "level", "logger", "message"} == set().union(*entries)
    assert f"ready: gRPC on {address}" in [entry["message"] for entry in entries]


def test_rockstar_model_server(base_path: Path, tmp_path: Path) -> None:
    """The same server, with the flags passed through."""
    flags = ("--port=auto", "--rest_api_port=auto", "--host=127.0.0.1", "--prefer_tflite_model")
    model = ("--model_name=toy", f"--model_base_path={base_path}")
    with serving("model-server", *flags, *model, log=tmp_path / "log") as addresses:
        assert addresses["grpc"].startswith("127.0.0.1:")
        status, found = ask(addresses["rest"], "/v1/models/toy")
        assert status == 200
        assert found["model_version_status"][0]["state"] == "AVAILABLE"


def test_rockstar_model_server_cannot_start() -> None:
    flags = ("--model_base_path=/absent", "--wait_for_models=false")
    said, errors = (process := start_command("model-server", *flags)).communicate(timeout=60)
    assert (process.returncode, said) == (1, "")
    assert "cannot start" in errors
    assert "Traceback" not in errors
