"""Configuration files with a byte order mark or in UTF-16, as editors on Windows save them."""

import pytest

from rockstar_serving.gateway.api_keys import make_key, read_keys
from rockstar_serving.gateway.routes_file import read_routes
from rockstar_serving.model_folder import ModelFolderError, read_models_config
from rockstar_serving.model_server.batching_parameters import read_parameters
from rockstar_serving.model_server.grpc_server import read_ssl_config
from rockstar_serving.model_server.models.config import ConfigError, read_config_file
from rockstar_serving.model_server.monitoring import read_monitoring_config
from rockstar_serving.options import SettingError
from rockstar_training.config import read_config
from rockstar_training.errors import ConfigError as TrainConfigError
from tests.certificates import AUTHORITY, issued

MODELS = 'model_config_list { config { name: "cnn" base_path: "/models/cnn" model_platform: "tensorflow" } }'


def ssl_config() -> str:
    pair = issued("127.0.0.1")
    fields = {
        "server_key": pair.private_key_pem,
        "server_cert": pair.cert_chain_pems[0],
        "custom_ca": AUTHORITY().cert_pem,
    }
    texts = {name: pem.bytes().decode().replace("\n", "\\n") for name, pem in fields.items()}
    return "\n".join(f'{name}: "{text}"' for name, text in texts.items())


FILES = {
    "routes": (lambda: "[models.cnn]\nmax_batch = 32\n", read_routes, SettingError),
    "keys": (lambda: make_key("ann")[1], read_keys, SettingError),
    "models.config of a server": (lambda: MODELS, read_config_file, ConfigError),
    "models.config of a folder": (
        lambda: MODELS,
        lambda path: read_models_config(path.rename(path.with_name("models.config")).parent),
        ModelFolderError,
    ),
    "monitoring": (
        lambda: "prometheus_config { enable: true }",
        read_monitoring_config,
        ConfigError,
    ),
    "batching": (lambda: "max_batch_size { value: 8 }", read_parameters, ConfigError),
    "ssl": (ssl_config, read_ssl_config, ConfigError),
    "training": (lambda: '{"model": "cnn", "epochs": 3}', read_config, TrainConfigError),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_byte_order_mark_changes_nothing(tmp_path, kind):
    content, read, _ = FILES[kind]
    text = content()
    for name, encoding in (("plain", "utf-8"), ("marked", "utf-8-sig")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(text, encoding)
    assert read(tmp_path / "marked" / "file") == read(tmp_path / "plain" / "file")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le"])
@pytest.mark.parametrize("kind", FILES)
def test_utf_16_is_refused_by_name(tmp_path, kind, encoding):
    content, read, refused = FILES[kind]
    (tmp_path / "file").write_text(content(), encoding)
    with pytest.raises(refused, match="expected UTF-8, got UTF-16: save the file as UTF-8"):
        read(tmp_path / "file")
