from pathlib import Path

import pytest
from click.testing import CliRunner

from rockstar_cli.__main__ import cli
from rockstar_serving.gateway import routes_file
from rockstar_serving.gateway.routes_file import (
    Alias,
    Arm,
    Route,
    Shadow,
    read_routes,
)
from rockstar_serving.options import SettingError

WHOLE = """
[aliases]
digits = "cnn"
preview = { model = "cnn", label = "canary" }

[models.cnn]
sticky = "X-User-ID"
max_batch = 32
split = [{ label = "stable", weight = 95 }, { version = 7, weight = 5 }]
shadow = { version = 8, share = 0.1 }
"""


@pytest.fixture
def write(tmp_path):
    def write(text: str | bytes) -> Path:
        path: Path = tmp_path / "routes.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_a_whole_file(write):
    found = read_routes(write(WHOLE))
    assert found.aliases["digits"] == Alias(model="cnn")
    assert found.aliases["preview"] == Alias(model="cnn", label="canary")
    assert found.models["cnn"] == Route(
        split=(Arm(label="stable", weight=95), Arm(version=7, weight=5)),
        sticky="X-User-ID",
        shadow=Shadow(version=8, share=0.1),
        max_batch=32,
    )


def test_the_example_in_the_documentation_is_valid(write):
    assert routes_file.__doc__
    example = routes_file.__doc__.partition("In TOML:")[2]
    assert read_routes(write(example.replace("\n    ", "\n"))).models


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[models", "is not TOML"),
        (b"\xff", "expected UTF-8"),
        ("[model.cnn]", "model: expected [aliases] or [models.NAME]"),
        ("models = 5", "models: expected a table"),
        ("[models]\ncnn = 5", "models.cnn: expected object, got int"),
        ("[models.cnn]\nspilt = []", "models.cnn: object contains unknown field spilt"),
        ("[models.cnn]\nsplit = [{ version = 0, weight = 1 }]", "models.cnn.split[0].version: expected int >= 1"),
        ("[models.cnn]\nsplit = [{ version = 1, weight = 0 }]", "models.cnn.split[0].weight: expected float > 0"),
        ("[models.cnn]\nsplit = [{ version = 1 }]", "models.cnn.split[0]: object missing required field weight"),
        ("[models.cnn]\nsplit = [{ weight = 1 }]", "models.cnn.split[0]: give a version or a label"),
        ("[models.cnn]\nsplit = [{ version = 1, label = 'a', weight = 1 }]", "models.cnn.split[0]: give a version or a label"),
        ("[models.cnn]\nsplit = [{ version = 1, weight = 1 }, { version = 1, weight = 2 }]", "names a version or label twice"),
        ("[models.cnn]\nsticky = 'X-User'", "models.cnn: sticky needs a split"),
        ("[models.cnn]\nsticky = 'X User'\nsplit = [{ version = 1, weight = 1 }]", "models.cnn.sticky: expected str matching regex"),
        ("[models.cnn]\nshadow = { version = 1, share = 2 }", "models.cnn.shadow.share: expected float <= 1"),
        ("[models.cnn]\nmax_batch = 0", "models.cnn.max_batch: expected int >= 1"),
        ("[aliases]\na = 5", "aliases.a: expected object, got int"),
        ("[aliases]\na = { model = 'cnn', version = 1, label = 'b' }", "aliases.a: give a version or a label, not both"),
        ("[aliases]\na = 'b'\nb = 'cnn'", "aliases.a: expected the name of a model, got the alias b"),
        ("[aliases]\ncnn = 'b'\n[models.cnn]", "aliases.cnn: there is a [models.cnn] too"),
    ],
)  # fmt: skip
def test_errors_name_file_and_place(write, text, says):
    path = write(text)
    with pytest.raises(SettingError) as error:
        read_routes(path)
    assert says in str(error.value)
    assert str(error.value).startswith(str(path))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(SettingError, match=r"absent\.toml cannot be read: No such file"):
        read_routes(tmp_path / "absent.toml")


def check(*arguments: object):
    return CliRunner().invoke(cli, ["check", *map(str, arguments)])


def test_check_describes_a_file(write):
    path = write(WHOLE)
    done = check(path)
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        f"ok      {path}: digits is another name of cnn",
        f"ok      {path}: preview is another name of cnn label canary",
        f"ok      {path}: cnn: label stable 95.0%, version 7 5.0%, the same for the same X-User-ID",
        f"ok      {path}: cnn: copies of 10.0% go to version 8",
        f"ok      {path}: cnn: at most 32 examples of several requests in one call",
    ]


def test_check_of_an_invalid_file(write):
    done = check(write("[models"))
    assert done.exit_code == 1
    assert "is not TOML" in done.stdout


def test_check_with_a_model_server(write):
    done = check(write(WHOLE), "--upstream=127.0.0.1:1")
    assert done.exit_code == 1
    assert "failed  127.0.0.1:1: cnn version 7 does not answer" in done.stdout
