"""Version labels: names that stand for versions of a model."""

from collections.abc import Callable, Collection, Iterable, Mapping

from rockstar_serving.model_server.models.config import ModelConfig
from tfs_api.status import Code, StatusError


class Labels:
    """The labels of all models.

    The rules are those of TensorFlow Serving (UpdateModelVersionLabelMap in server_core.cc): a
    label may stand for a version that is available at that moment. With allow_unavailable it may
    stand for any, unless it stands for another one already: moving a label to what cannot answer
    would make requests fail.
    """

    def __init__(self, *, allow_unavailable: bool) -> None:
        self._allow_unavailable = allow_unavailable
        self._versions: Mapping[tuple[str, str], int] = {}

    def version(self, model: str, label: str) -> int:
        """What a label stands for.

        Raises:
            StatusError: INVALID_ARGUMENT, nothing.
        """
        version = self._versions.get((model, label))
        if version is None:
            raise StatusError(
                Code.INVALID_ARGUMENT, f"Unrecognized servable version label: {label}"
            )
        return version

    def assign(
        self, configs: Iterable[ModelConfig], available: Callable[[str], Collection[int]]
    ) -> None:
        """Replace all labels by those of a configuration, or none of them.

        Args:
            configs: of all models.
            available: the versions of a model that answer requests.

        Raises:
            StatusError: FAILED_PRECONDITION, a label may not stand for its version.
        """
        versions = {
            (config.name, label): version
            for config in configs
            for label, version in config.labels.items()
        }
        for (model, label), version in versions.items():
            new = self._versions.get((model, label), version) == version
            if not (self._allow_unavailable and new) and version not in available(model):
                raise StatusError(
                    Code.FAILED_PRECONDITION,
                    f"Request to assign label to version {version} of model {model}, which is not "
                    "currently available for inference",
                )
        self._versions = versions
