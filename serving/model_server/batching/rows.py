"""Which requests of a signature can be batched: those whose tensors all have the rows in common."""

from collections.abc import Collection, Hashable

from serving.api.signature import Signature, TensorSpec
from serving.api.status import Code, StatusError
from serving.model_server.batching.task import Arrays


class RowRules:
    """What a signature says of rows, the first dimension of its tensors."""

    def __init__(self, signature: Signature) -> None:
        inputs = signature.inputs.values()
        self._inputs = tuple(signature.inputs)
        self._possible = bool(inputs) and all(map(_may_have_rows, inputs))
        self._known = any(spec.shape is not None for spec in inputs)
        self._without = {n for n, spec in signature.outputs.items() if not _may_have_rows(spec)}

    def rows(self, feeds: Arrays, fetches: Collection[str]) -> int | None:
        """How many rows a request has; None where it can only run alone.

        Alone runs what the signature's shapes keep from being batched. Where they say nothing at
        all, the request decides.

        Raises:
            StatusError: INVALID_ARGUMENT, tensors without rows, or of different numbers of rows.
        """
        if not self._possible or not self._without.isdisjoint(fetches):
            return None
        sizes = {array.shape[0] if array.ndim else None for array in feeds.values()}
        if len(sizes) == 1 and None not in sizes:
            return sizes.pop()
        if not self._known:
            return None
        if None in sizes:
            raise _invalid("Batching Run() input tensors must have at least one dimension")
        raise _invalid("Batching Run() input tensors must have equal 0th-dimension size")

    def learn(self, output: str) -> None:
        """An output turned out to have no rows: requests for it run alone from now on."""
        self._without.add(output)

    def key(self, feeds: Arrays, fetches: Collection[str], *, pad_lengths: bool) -> Hashable:
        """Equal for requests that may share a batch.

        Args:
            feeds: of the request.
            fetches: its outputs.
            pad_lengths: whether the dimensions behind the first may differ.
        """
        arrays = (feeds[name] for name in self._inputs)
        return frozenset(fetches), tuple(
            (array.dtype, array.ndim if pad_lengths else array.shape[1:]) for array in arrays
        )


def _may_have_rows(spec: TensorSpec) -> bool:
    return spec.shape is None or spec.shape[:1] == (-1,)


def _invalid(message: str) -> StatusError:
    return StatusError(Code.INVALID_ARGUMENT, message)
