"""The models of both servers."""

import shutil
from collections.abc import Callable
from pathlib import Path

from tests import litert_models, rest_models, saved_models
from tests.saved_models import SavedModels

# In addition to those of the golden requests.
_MAKERS: dict[str, Callable[[Path], None]] = {
    "both": litert_models.make_both,
    "composite": saved_models.make_composite,
    "defaults": saved_models.make_defaults,
    "dtypes": saved_models.make_dtypes,
    "examples": saved_models.make_examples,
    "shapes": saved_models.make_shapes,
    "tf1": saved_models.make_tf1,
    "vocabulary": saved_models.make_vocabulary,
}
# The same model under a name that clients must escape.
_ESCAPED = {"team/both": "both"}
# In TensorFlow Serving's source tree.
_TESTDATA = Path("tensorflow_serving/servables/tensorflow/testdata")
_FROM_TREE = (
    "saved_model_counter",
    "saved_model_half_plus_three",
    "saved_model_half_plus_two_2_versions",
    "saved_model_half_plus_two_cpu",
    "saved_model_half_plus_two_tf2_cpu",
)


def folders(tree: Path | None = None) -> dict[str, str]:
    """The folder of each model, by the model's name; see write_models()."""
    found = _found(tree)
    return {name: name for name in (*rest_models.LABELS, *_MAKERS, *found)} | _ESCAPED


def write_models(folder: Path, tree: Path | None = None) -> None:
    """Write all models.

    Args:
        folder: folder for `<model>/<version>`; it may already contain the models.
        tree: TensorFlow Serving's source tree, whose test models are served too.
    """
    rest_models.write_models(folder)
    made = SavedModels(folder)
    for make in _MAKERS.values():
        made.version(make)
    for name, source in _found(tree).items():
        shutil.copytree(source, folder / name, dirs_exist_ok=True)


def _found(tree: Path | None) -> dict[str, Path]:
    """Test models in the source tree, by name."""
    paths = {name: tree / _TESTDATA / name for name in _FROM_TREE} if tree else {}
    return {name: path for name, path in paths.items() if path.is_dir()}
