import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives import serialization

from rockstar_cli.__main__ import cli
from rockstar_serving.gateway.settings import (
    command_option,
    config_of,
    read_settings,
    settings,
    shown,
    variable,
)
from rockstar_serving.options import SettingError
from tests.certificates import chain_of, issued, key_of


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    for setting in settings():
        monkeypatch.delenv(variable(setting), raising=False)


def test_defaults_environment_and_options_in_rising_order(monkeypatch):
    monkeypatch.setenv("ROCKSTAR_MODELS", "cnn, mlp 5")
    monkeypatch.setenv("ROCKSTAR_WORKERS", "3")
    monkeypatch.setenv("ROCKSTAR_THREADS", "4")
    monkeypatch.setenv("ROCKSTAR_BIND", "")
    config = config_of(read_settings({"threads": "5", "models": (), "max_pixels": None}))
    assert config.models == ("cnn", "mlp", "5")
    assert (config.workers, config.threads, config.bind) == (3, 5, "127.0.0.1:8080")


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("ROCKSTAR_LOG_FORMAT", "xml", "ROCKSTAR_LOG_FORMAT"),
        ("ROCKSTAR_PAYLOAD_LOG", "/no/such/folder/log", "/no/such/folder/log cannot be written: No such"),
        ("ROCKSTAR_PAYLOAD_SHARE", "2", "ROCKSTAR_PAYLOAD_SHARE"),
        ("ROCKSTAR_WORKERS", "x", "ROCKSTAR_WORKERS: expected a whole number from 1, got 'x'"),
        ("ROCKSTAR_WORKERS", "0", "from 1"),
        ("ROCKSTAR_REQUEST_TIMEOUT", "0", "ROCKSTAR_REQUEST_TIMEOUT: expected a number above 0"),
        ("ROCKSTAR_REQUEST_TIMEOUT", "nan", "a number above 0"),
        ("ROCKSTAR_REQUEST_TIMEOUT", "inf", "a number above 0"),
        ("ROCKSTAR_REQUEST_TIMEOUT", "100", "at most ROCKSTAR_MAX_REQUEST_TIMEOUT"),
        ("ROCKSTAR_WORKER", "3", "ROCKSTAR_WORKER: there is no such setting; did you mean ROCKSTAR_WORKERS?"),
        ("ROCKSTAR_BIND__X", "3", "ROCKSTAR_BIND__X: there is no such setting"),
        ("ROCKSTAR_QQQ", "3", "see rockstar gateway --help"),
        ("ROCKSTAR_GATEWAY_PORT", "8080", "no such setting"),
        ("ROCKSTAR_UPSTREAM_CA", "/no/such/file", "tls.ca: expected a readable PEM file, got /no/such/file"),
        ("ROCKSTAR_UPSTREAM_CA", __file__, "expected PEM files"),
        ("ROCKSTAR_UPSTREAM_CERTIFICATE", __file__, "upstream_ca: expected a file"),
        ("ROCKSTAR_UPSTREAM_KEY", __file__, "upstream_ca: expected a file"),
        ("ROCKSTAR_CORS_ORIGINS", "example.org", "ROCKSTAR_CORS_ORIGINS: expected sites such as https://example.org"),
        ("ROCKSTAR_CORS_ORIGINS", "https://example.org/", "without a path"),
        ("ROCKSTAR_RATE_LIMIT", "often", "ROCKSTAR_RATE_LIMIT: expected a rate such as 100/minute"),
    ],
)  # fmt: skip
def test_a_bad_setting_is_named(monkeypatch, variable, value, says):
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingError) as error:
        config_of(read_settings({"models": ("cnn",)}))
    assert says in str(error.value)


def test_options_take_commas_too():
    assert config_of(read_settings({"models": ("cnn,mlp", "logistic")})).models == (
        "cnn",
        "mlp",
        "logistic",
    )


def test_no_model():
    with pytest.raises(SettingError, match="--model NAME"):
        config_of(read_settings({}))


@pytest.mark.parametrize(
    ("certificate", "key", "says"),
    [
        ("tls.crt", "", "expected both or neither"),
        ("", "tls.key", "expected both or neither"),
        ("tls.crt", "none.key", "No such file"),
        ("tls.key", "tls.key", "expected PEM files"),
        ("other.crt", "tls.key", "mismatch"),
        ("tls.crt", "locked.key", "without a password"),
    ],
)
def test_a_certificate_that_cannot_be_used(tmp_path, certificate, key, says):
    one, two = issued("one.example"), issued("two.example")
    (tmp_path / "tls.crt").write_text(chain_of(one))
    (tmp_path / "tls.key").write_text(key_of(one))
    (tmp_path / "other.crt").write_text(chain_of(two))
    private = serialization.load_pem_private_key(key_of(one).encode(), None)
    locked = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    (tmp_path / "locked.key").write_bytes(locked)
    paths = {
        name: str(tmp_path / file) if file else ""
        for name, file in (("tls_certificate", certificate), ("tls_key", key))
    }
    with pytest.raises(SettingError, match=says):
        config_of(read_settings({"models": ("cnn",), **paths}))


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ROCKSTAR_DATA_DIR", "/data"),
        ("ROCKSTAR_URL", "http://127.0.0.1:8080"),
        ("ROCKSTAR_GATEWAY_SERVICE_HOST", "10.0.0.1"),
        ("ROCKSTAR_GATEWAY_SERVICE_PORT_HTTP", "8080"),
        ("ROCKSTAR_PORT", "tcp://10.0.0.1:8080"),
        ("ROCKSTAR_PORT_8080_TCP_ADDR", "10.0.0.1"),
    ],
)
def test_variables_that_are_not_ours_are_let_be(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    assert config_of(read_settings({"models": ("cnn",)})).models == ("cnn",)


def test_printed_settings_can_be_read_again(monkeypatch):
    before = read_settings({"models": ("cnn", "mlp"), "workers": "7"})
    for line in shown(before).splitlines():
        variable, _, value = line.partition("  #")[0].rstrip().partition("=")
        monkeypatch.setenv(variable, value)
    assert config_of(read_settings({})) == config_of(before)


def gateway(*arguments: str, **environment: str):
    return CliRunner().invoke(cli, ["gateway", *arguments], env=environment)


def test_print_config_shows_sources():
    done = gateway("--print-config", "--model=cnn", "--max-pixels=99", ROCKSTAR_WORKERS="4")
    assert done.exit_code == 0
    lines = dict(line.split("  #") for line in done.stdout.splitlines())
    by_line = {line.strip(): source.strip() for line, source in lines.items()}
    assert by_line["ROCKSTAR_MODELS=cnn"] == "--model"
    assert by_line["ROCKSTAR_MAX_PIXELS=99"] == "--max-pixels"
    assert by_line["ROCKSTAR_WORKERS=4"] == "ROCKSTAR_WORKERS"
    assert by_line["ROCKSTAR_BIND=127.0.0.1:8080"] == "default"


def test_a_bad_option_is_a_usage_error():
    done = gateway("--model=cnn", "--workers=none")
    assert done.exit_code == 2
    assert "--workers: expected a whole number from 1, got 'none'" in done.stderr


def test_help_has_every_setting():
    said = gateway("--help").stdout
    for setting in settings():
        assert setting.help, setting.name
        assert command_option(setting) in said
