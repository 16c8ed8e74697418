"""The gateway, the model server, the command that starts both, and models without a server."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from rockstar_serving.local_model import LocalModel


def load(
    version_folder: "str | Path", *, top: int = 3, strict: bool = False, threads: int = 1
) -> "LocalModel":
    """Load a version of a model into this process, which needs its model.tflite.

    `load("models/cnn/3")(["seven.png"])` returns a prediction for each example, as the service
    predicts. The files are compared with the hashes in the manifest.

    Args:
        version_folder: such as models/cnn/3; of models/cnn, the highest version is loaded.
        top: number of labels to list.
        strict: reject rows with missing values, unknown categories or other columns.
        threads: of one run; several calls can run at once.

    Raises:
        LoadError: the folder holds no version, or a damaged one.
        NoContractError: the version has no contract.
    """
    from rockstar_serving.local_model import LocalModel

    return LocalModel.load(version_folder, top, strict, threads)


def installed_version() -> str:
    """The version of the installed package; empty for a checkout that is not installed."""
    # Imported on demand: it takes a hundredth of a second.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("rockstartf")
    except PackageNotFoundError:
        return ""


class ServeError(Exception):
    """The service cannot start or continue; the message is for the user."""
