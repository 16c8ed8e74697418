"""The programs in docs/clients.md, word for word, against a running service."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from rockstar_client.backend import Query
from rockstar_client.tfserving import TFServingClient
from rockstar_contract.inputs import prepare
from tests.end_to_end.busy import Busy, busy_at_first
from tests.end_to_end.conftest import ROOT
from tests.end_to_end.heldout import held_out
from tests.end_to_end.programs import DOCUMENT, PROGRAMS, Program
from tests.environments import TRITONCLIENT, environment, node_packages
from tests.integration.gateway.conftest import running
from tests.snippets import snippets

KEY = "rock-alice"


@pytest.fixture(scope="module")
def guarded(service, tmp_path_factory) -> Iterator[str]:
    """The URL of a gateway that requires a key."""
    folder = tmp_path_factory.mktemp("guarded")
    keys = folder / "keys.toml"
    keys.write_text(f'[keys.alice]\nsha256 = "{hashlib.sha256(KEY.encode()).hexdigest()}"\n')
    port = int(service.grpc.rpartition(":")[2])
    arguments = ("--model=cnn", f"--api-keys-file={keys}", "--workers=1")
    with running(port, folder / "log", *arguments) as gateway:
        yield gateway.url


@pytest.fixture
def busy(service) -> Iterator[Busy]:
    with busy_at_first(service.http) as server:
        yield server


@pytest.fixture
def seven(trained_models, service, tmp_path) -> tuple[str, float]:
    """The files that the document names, and their predictions in training."""
    files, labels, scores = held_out(trained_models.workdir / "runs" / "cnn-1")
    place = labels.index("7")
    (tmp_path / "7.png").write_bytes(files[place])
    with TFServingClient(service.grpc) as client:
        array = prepare(files[place], client.contract(Query("cnn")).input, field="image")
    (tmp_path / "input.json").write_text(json.dumps(array.tolist()))
    npy = io.BytesIO()
    np.save(npy, array)
    (tmp_path / "input.npy").write_bytes(npy.getvalue())
    return labels[place], scores[place]


@pytest.fixture
def run(tmp_path, seven):
    """Run a command in the folder of the files."""

    def run(
        command: list[str], url: str = "", key: str | None = None
    ) -> "subprocess.CompletedProcess[str]":
        kept = {name: text for name, text in os.environ.items() if not name.startswith("ROCKSTAR_")}
        return subprocess.run(
            command,
            cwd=tmp_path,
            env={**kept, "PYTHONPATH": str(ROOT), "ROCKSTAR_URL": url}
            | ({} if key is None else {"ROCKSTAR_API_KEY": key}),
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


def check(done: "subprocess.CompletedProcess[str]", expected: tuple[str, float]) -> None:
    assert done.returncode == 0, done.stderr
    label, score = done.stdout.split()
    assert label == expected[0]
    assert float(score) == pytest.approx(expected[1], abs=1e-4)


@pytest.mark.parametrize("name", PROGRAMS)
def test_label_and_score(run, service, seven, tmp_path, name):
    command = PROGRAMS[name].write(tmp_path)
    check(run([*command, "cnn", "7.png"], service.http), seven)


@pytest.mark.parametrize("name", PROGRAMS)
def test_key_and_error(run, guarded, seven, tmp_path, name):
    command = [*PROGRAMS[name].write(tmp_path), "cnn", "7.png"]
    check(run(command, guarded, KEY), seven)
    refused = run(command, guarded)
    assert refused.returncode != 0
    assert "An API key is needed" in refused.stderr
    assert refused.stdout == ""


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_busy_service_is_retried_after_retry_after(run, busy, seven, tmp_path, name):
    command = PROGRAMS[name].write(tmp_path)
    check(run([*command, "cnn", "7.png"], busy.url), seven)
    first, second, *_ = busy.came  # our client requests the contract, too
    assert second - first > 0.95  # Retry-After is 1


def test_other_bodies_with_curl(run, service, seven):
    bodies = [text for text in snippets(DOCUMENT, "curl", "sh") if '/predict/cnn"\n' in text]
    assert len(bodies) == 4
    for text in bodies:
        done = run(["bash", "-c", text], service.http)
        (prediction,) = json.loads(done.stdout)["predictions"]
        assert prediction["label"] == seven[0], text


def test_the_default_address_of_curl():
    text = snippets(DOCUMENT, "curl", "sh")[0]
    done = subprocess.run(["bash", "-c", f"{text} env"], capture_output=True, text=True, env={})
    assert "ROCKSTAR_URL=http://127.0.0.1:8080\n" in done.stdout


def test_grpc_in_node(run, request, service, seven, tmp_path):
    (tmp_path / "node_modules").symlink_to(node_packages(request.config))
    (tmp_path / "contract").symlink_to(ROOT / "contract")
    program = Program("gRPC", "javascript", ("ask_grpc.mjs",), ("node",))
    command = [*program.write(tmp_path), service.grpc]
    check(run([*command, "cnn", "input.json"]), seven)
    unknown = run([*command, "nobody", "input.json"])
    assert unknown.returncode == 1
    assert unknown.stderr == "NOT_FOUND Servable not found for request: Latest(nobody)\n"


def test_grpc_with_our_client(run, service, seven, tmp_path):
    program = Program("Python", "python", (None, "ask.py"), (sys.executable,))
    command = [*program.write(tmp_path), service.grpc]
    check(run([*command, "cnn", "7.png"]), seven)
    unknown = run([*command, "nobody", "7.png"])
    assert unknown.returncode == 1
    assert "nobody" in unknown.stderr
    assert "Traceback" not in unknown.stderr


def test_grpc_with_tritonclient(run, request, service, seven, tmp_path):
    python = environment(request.config, "tritonclient", TRITONCLIENT)
    program = Program("gRPC", "python", ("ask.py",), (str(python),))
    command = [*program.write(tmp_path), service.grpc]
    check(run([*command, "cnn", "input.npy"]), seven)
    unknown = run([*command, "nobody", "input.npy"])
    assert unknown.returncode == 1
    assert unknown.stderr == "Servable not found for request: Latest(nobody)\n"


@pytest.mark.parametrize(
    ("number", "tools", "stub"),
    [
        (0, (), "tfs_api/services_pb2_grpc.py"),
        (
            1,
            ("protoc", "protoc-gen-go", "protoc-gen-go-grpc"),
            "rockstartf/api/services_grpc.pb.go",
        ),
        (2, ("protoc", "protoc-gen-grpc-java"), "tensorflow/serving/PredictionServiceGrpc.java"),
    ],
    ids=["Python", "Go", "Java"],
)
def test_stubs_are_generated(run, tmp_path, number, tools, stub):
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f"there is no {tool}")
    generate(run, tmp_path, number)
    assert "PredictionService" in (tmp_path / "stubs" / stub).read_text()


def generate(run, folder, number):
    """Run the command of a language."""
    (folder / "contract").symlink_to(ROOT / "contract")
    files, *commands = snippets(DOCUMENT, "gRPC", "bash")
    command = commands[number].replace("python -m", f"{sys.executable} -m")
    done = run(["bash", "-ec", files + command])
    assert done.returncode == 0, done.stderr


ASK_WITH_STUBS = """
import sys
import grpc
from tfs_api import services_pb2_grpc
from tfs_api.messages import model_status_pb2

with grpc.insecure_channel(sys.argv[1]) as channel:
    request = model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "cnn"
    stub = services_pb2_grpc.ModelServiceStub(channel)
    for each in stub.GetModelStatus(request, timeout=20).model_version_status:
        print(each.version, model_status_pb2.ModelVersionStatus.State.Name(each.state))
"""


def test_a_generated_stub(run, service, tmp_path):
    generate(run, tmp_path, 0)
    folder = tmp_path / "stubs"
    (folder / "ask.py").write_text(ASK_WITH_STUBS)
    # After the program's folder, the path has this repository's package of the same name.
    for package in ("tfs_api", "tfs_api/messages"):
        (folder / package / "__init__.py").touch()
    done = run([sys.executable, "stubs/ask.py", service.grpc])
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1 AVAILABLE\n"
