"""Folders of models for tests of labels: versions with a contract and a manifest, but no model."""

from pathlib import Path

from google.protobuf import text_format

from rockstar_contract.manifest import write_manifest
from tests.contracts import make_contract
from tfs_api.messages.model_server_config_pb2 import ModelConfig, ModelServerConfig


def add_version(models: Path, model: str, version: int, **changes) -> Path:
    """A version folder with a contract of that model and version."""
    folder = models / model / str(version)
    (folder / "assets.extra").mkdir(parents=True)
    (folder / "model.tflite").write_bytes(b"x" * 2048)
    contract = make_contract(model=model, version=version, **changes)
    (folder / "assets.extra" / "contract.json").write_text(contract.to_json())
    write_manifest(folder)
    return folder


def written(models: Path) -> dict[str, ModelConfig]:
    """The entries of a folder's models.config, by name."""
    text = (models / "models.config").read_text()
    document = text_format.Parse(text, ModelServerConfig())
    return {config.name: config for config in document.model_config_list.config}
