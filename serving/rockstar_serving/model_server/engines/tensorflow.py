"""TensorFlow as an engine: any SavedModel, of TensorFlow 1 and 2."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from rockstar_serving.model_server.deadline import NO_DEADLINE, Deadline
from rockstar_serving.model_server.engines.engine import LoadError, as_array
from rockstar_serving.model_server.engines.runtime import Runtime
from rockstar_serving.model_server.engines.tensorflow_session import GraphTensor, TensorFlowSession
from rockstar_serving.model_server.options import EngineOptions
from tfs_api.signature import Signature, dtype_name, shape_text, signature_of
from tfs_api.status import Code, StatusError

# The session keeps what it prepares for each set of fetches for good, and callers choose the set.
_FETCH_SETS = 16


class TensorFlowEngine:
    """One version in TensorFlow."""

    name = "TensorFlow"

    def __init__(self, version_folder: Path, options: EngineOptions | None = None) -> None:
        """Load a version.

        Args:
            version_folder: holds a SavedModel.
            options: tags of the graph, threads, memory of a GPU.

        Raises:
            LoadError: it cannot be loaded.
        """
        self._session = TensorFlowSession(version_folder, options or EngineOptions())
        try:
            self._calls = {
                name: _Call(self._session, name, signature_of(message))
                for name, message in self._session.signatures.items()
            }
        except (ValueError, KeyError) as error:
            self.close()
            raise LoadError(
                f"{version_folder} has a signature that cannot be run: {error}"
            ) from error
        self.signatures: Mapping[str, Signature] = {
            name: call.signature for name, call in self._calls.items()
        }

    def run(
        self,
        signature: str,
        feeds: Mapping[str, NDArray[Any]],
        fetches: Sequence[str],
        deadline: Deadline = NO_DEADLINE,
    ) -> dict[str, NDArray[Any]]:
        """Run a signature; see Engine."""
        deadline.check()
        return self._calls[signature].run(feeds, fetches, deadline)

    def close(self) -> None:
        """Free the graph, its variables and its tables."""
        self._session.close()


class _Call:
    """A signature with the tensors of the graph that belong to it."""

    def __init__(self, session: TensorFlowSession, name: str, signature: Signature) -> None:
        self.signature = signature
        self._session = session
        self._name = name
        self._inputs = self._tensors(signature.inputs)
        self._outputs = self._tensors(signature.outputs)
        self._known: set[frozenset[str]] = set()

    def run(
        self, feeds: Mapping[str, NDArray[Any]], fetches: Sequence[str], deadline: Deadline
    ) -> dict[str, NDArray[Any]]:
        """The outputs that are asked for; what they do not need is not run."""
        self._refuse_composites(feeds, fetches)
        if self._name in self._session.convolving:
            self._check_ranks(feeds)
        wanted = self._fetched(frozenset(fetches))
        # Always in this order: each order would be prepared for itself.
        fed = {tensor: feeds[name] for name, tensor in self._inputs.items() if name in feeds}
        values = self._session.run(fed, [self._outputs[name] for name in wanted], deadline)
        outputs = dict(zip(wanted, values, strict=True))
        return {name: as_array(outputs[name]) for name in fetches}

    def _tensors(self, specs: Mapping[str, Any]) -> dict[str, GraphTensor]:
        return {
            name: self._session.tensor(spec.tensor) for name, spec in specs.items() if spec.tensor
        }

    def _fetched(self, wanted: frozenset[str]) -> list[str]:
        """What to compute, in a fixed order: what is wanted, or all where that varies much."""
        if wanted not in self._known:
            if len(self._known) >= _FETCH_SETS:
                return list(self._outputs)
            self._known.add(wanted)
        return [name for name in self._outputs if name in wanted]

    def _check_ranks(self, feeds: Mapping[str, NDArray[Any]]) -> None:
        """Pass feeds with no fewer dimensions than declared.

        TensorFlow's convolutions on oneDNN end the process where the input has fewer than four
        (tensorflow/tensorflow#111453).
        """
        for name, feed in feeds.items():
            spec = self.signature.inputs[name]
            if spec.shape is not None and feed.ndim < len(spec.shape):
                raise StatusError(
                    Code.INVALID_ARGUMENT,
                    f"input {name!r}: expected {spec}, got {dtype_name(feed.dtype)} of shape "
                    f"{shape_text(feed.shape)}: a convolution takes no fewer dimensions",
                )

    def _refuse_composites(self, feeds: Mapping[str, Any], fetches: Sequence[str]) -> None:
        composite = [name for name in feeds if name not in self._inputs]
        composite += [name for name in fetches if name not in self._outputs]
        if composite:
            raise StatusError(
                Code.INVALID_ARGUMENT,
                f'{composite[0]} of the signature "{self._name}" is a sparse or ragged tensor, '
                "which no message holds: export a signature whose tensors are dense",
            )
        if not fetches:
            raise StatusError(
                Code.INVALID_ARGUMENT,
                f'the signature "{self._name}" has no output that a message holds',
            )


RUNTIME = Runtime(
    name=TensorFlowEngine.name,
    package="tensorflow",
    install="pip install 'rockstartf[train]'",
    files=("saved_model.pb", "saved_model.pbtxt"),
    reads=("saved_model.", "fingerprint.pb", "variables/", "assets/"),
    export="export it with tf.saved_model.save",
    rank=lambda _: 10,
    load=TensorFlowEngine,
)
