"""Why a model, or a version that was asked for, is not served."""

from collections.abc import Collection, Sequence

from rockstar_serving.model_server.models.config import ModelConfig, Specific
from rockstar_serving.model_server.models.servable import VersionStatus
from rockstar_serving.model_server.models.versions import scan
from tfs_api.status import Code


def trouble(config: ModelConfig, statuses: Sequence[VersionStatus], *, unsettled: bool) -> str:
    """Why no version of a model is available.

    Args:
        config: of the model.
        statuses: of its versions.
        unsettled: whether one is waited for, because it is still being written.
    """
    where = f"model {config.name!r} ({config.place})"
    problem = config.mirror.problem if config.mirror else ""
    try:
        found = scan(config.base_path)
    except OSError as error:
        return f"{where}: {problem or f'the base path cannot be read: {error.strerror}'}"
    errors = [status for status in statuses if status.code != Code.OK]
    if errors:
        reasons = "; ".join(f"version {s.version}: {s.message}" for s in errors)
        return f"{where}: no version loads: {reasons}"
    if problem:
        return f"{where}: {problem}"
    if unsettled:
        return f"{where}: the files of its version are still being written"
    return f"{where}: {absence(config, found) or 'no version is loaded yet'}"


def absence(config: ModelConfig, found: Collection[int]) -> str:
    """What the policy of a model asks for and is not there; "" where nothing is missing."""
    if not found:
        hint = ""
        if any((config.base_path / name).exists() for name in ("saved_model.pb", "model.tflite")):
            hint = ": it holds a model itself, which belongs in a folder below it"
        return f"no version folder, such as 1, in the base path{hint}"
    if not config.policy.choose(found):
        return f"its policy matches none of the versions {sorted(found)}"
    if isinstance(config.policy, Specific) and (absent := config.policy.versions - set(found)):
        return f"its policy asks for the versions {sorted(absent)}, which are not in the base path"
    return ""
