"""Version folders against their manifests, before anything of them is loaded."""

from collections.abc import Sequence
from pathlib import Path

from rockstar_contract.manifest import ManifestError, MissingManifestError, check_readable
from rockstar_serving.model_server.engines.engine import LoadError

# Holds warmup requests.
_EXTRA_ASSETS = "assets.extra/"


def verify(folder: Path, reads: Sequence[str]) -> None:
    """Pass a version that is what its manifest says.

    All files must be there with their sizes. Hashed are those that are read, which is what costs:
    the LiteRT model, but not the SavedModel beside it, or the other way round. A version without a
    manifest was published by other means, and passes.

    Args:
        folder: of the version.
        reads: how the paths of files begin that the engine reads.

    Raises:
        LoadError: it is something else.
    """
    begins = (*reads, _EXTRA_ASSETS)
    try:
        check_readable(folder, lambda path: path.startswith(begins))
    except MissingManifestError:
        pass
    except ManifestError as error:
        raise LoadError(
            f"{error}: copy it again from where it was published, or publish a new version "
            "(rockstar verify compares all files)"
        ) from error
