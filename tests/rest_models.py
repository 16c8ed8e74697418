"""The tiny models of the golden REST requests in tests/testdata/rest.

Each version folder has a SavedModel, for TensorFlow Serving, and the same model as a LiteRT file.

- `half_plus`: float32 `x` [?] in, `y` = x / 2 + 2 out; version 2 adds 3; the label `stable` is on 1
- `numbers`: `serving_default` doubles float32 `x` [?, 2]; `sums` adds and subtracts int32 `a` and
  `b` [?]; `texts` answers `text` as it is, also as `text_bytes`; `same_<dtype>` answers `x` [?];
  `scalar` adds 1 to `x` []; `images` sums pixels [?, 2, 2, 1]; `mean` has an output without a
  batch; `uneven` has outputs of two batch sizes
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rockstar_contract.manifest import write_manifest
from tests.litert_models import converted
from tests.saved_models import named_function

DTYPES = (
    *("float64", "float32", "float16", "bfloat16", "complex64", "bool"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
)
LABELS: Mapping[str, Mapping[str, int]] = {"half_plus": {"stable": 1}, "numbers": {}}
CONFIG_FILE = "models.config"


def write_models(folder: Path) -> Path:
    """Write the models, and a configuration file that serves them.

    Args:
        folder: folder for `<model>/<version>`; it may already contain the models.

    Returns:
        The configuration file.
    """
    for version, addend in ((1, 2.0), (2, 3.0)):
        _write(folder / "half_plus" / str(version), _half_plus(addend))
    _write(folder / "numbers" / "1", _numbers())
    config = folder / CONFIG_FILE
    config.write_text(config_text(str(folder.resolve()), {name: name for name in LABELS}))
    return config


def config_text(base: str, folders: Mapping[str, str]) -> str:
    """A configuration file for all versions of models.

    Args:
        base: path of the models' folder.
        folders: subfolders by model name.
    """
    models = ""
    for name, folder in folders.items():
        pointers = "".join(
            f'    version_labels {{ key: "{label}" value: {version} }}\n'
            for label, version in LABELS.get(name, {}).items()
        )
        models += (
            f'  config {{\n    name: "{name}"\n    base_path: "{base}/{folder}"\n'
            '    model_platform: "tensorflow"\n    model_version_policy { all {} }\n'
            f"{pointers}  }}\n"
        )
    return f"model_config_list {{\n{models}}}\n"


def _half_plus(addend: float) -> Mapping[str, Any]:
    import tensorflow as tf

    return {
        "serving_default": named_function(lambda x: {"y": x / 2 + addend}, x=tf.TensorSpec([None]))
    }


def _numbers() -> Mapping[str, Any]:
    import tensorflow as tf

    int32s = tf.TensorSpec([None], tf.int32)
    signatures = {
        "serving_default": named_function(lambda x: {"y": x * 2}, x=tf.TensorSpec([None, 2])),
        "sums": named_function(
            lambda a, b: {"total": a + b, "difference": a - b}, a=int32s, b=int32s
        ),
        "texts": named_function(
            lambda text: {"text": tf.identity(text), "text_bytes": tf.reshape(text, [-1])},
            text=tf.TensorSpec([None], tf.string),
        ),
        "scalar": named_function(lambda x: {"y": x + 1}, x=tf.TensorSpec([])),
        "images": named_function(
            lambda image: {"total": tf.reduce_sum(image, axis=[1, 2, 3])},
            image=tf.TensorSpec([None, 2, 2, 1]),
        ),
        "mean": named_function(lambda x: {"mean": tf.reduce_mean(x)}, x=tf.TensorSpec([None])),
        "uneven": named_function(
            lambda x: {"first": x[:1] * 1, "second": x * 1}, x=tf.TensorSpec([None])
        ),
    }
    for dtype in DTYPES:
        spec = tf.TensorSpec([None], dtype)
        signatures[f"same_{dtype}"] = named_function(lambda x: {"y": tf.identity(x)}, x=spec)
    return signatures


def _write(version: Path, signatures: Mapping[str, Any]) -> None:
    import tensorflow as tf

    if version.exists():
        return
    aside = version.with_name(f"tmp.{version.name}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow's own
        tf.saved_model.save(tf.Module(), str(aside), signatures=signatures)
        (aside / "model.tflite").write_bytes(converted(aside, [*signatures]))
    write_manifest(aside)  # without one, a process of its own tries it first
    aside.rename(version)
