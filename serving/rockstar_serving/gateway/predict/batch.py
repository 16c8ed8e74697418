"""The examples of a request as one batch for a model; bad ones are set aside where asked."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rockstar_client import predictor
from rockstar_contract.contract import Input, TableInput, TensorInput
from rockstar_contract.errors import InvalidInputError
from rockstar_contract.inputs import is_batch, prepare
from rockstar_contract.tables import Adjustments
from rockstar_contract.tensor_inputs import read_tensors, stack
from rockstar_serving.gateway.predict.bodies import NamedExample, require_few
from rockstar_serving.gateway.settings import GatewayConfig


class Batch:
    """Makes the batch for what a contract says of the input.

    Attributes:
        problems: what is wrong with an example, by its position; empty unless partial.
        adjusted: what was imputed and ignored in a row of a table, by its position.
        size: how many examples there are, with the bad ones.
    """

    def __init__(
        self,
        examples: list[NamedExample],
        config: GatewayConfig,
        *,
        partial: bool,
        strict: bool = False,
    ) -> None:
        """Hold the examples of a request.

        Args:
            examples: as they came.
            config: limits.
            partial: set bad examples aside instead of refusing the request.
            strict: reject rows with missing values, unknown categories or other columns.
        """
        self._examples = examples
        self._config = config
        self._partial = partial
        self._strict = strict
        self.problems: dict[int, InvalidInputError] = {}
        self.adjusted: dict[int, Adjustments] = {}
        self.size = len(examples)

    @property
    def originals(self) -> list[Any]:
        """The examples as they came; what was wrong with one at first sight, in its place."""
        return [named.example for named in self._examples]

    def prepare(self, spec: Input) -> predictor.Batch:
        """The good examples; may be called again with another spec.

        Returns:
            float32 [n, *spec.shape], or for tensors arrays [n, …] by name.

        Raises:
            InvalidInputError: of a bad example; where they may be partial, only if all are bad.
        """
        if isinstance(spec, TensorInput):
            return self._tensors(spec)
        examples = list(self._split(spec))
        require_few(len(examples), self._config)
        self.problems, self.adjusted, self.size = {}, {}, len(examples)
        rows = []
        is_table = isinstance(spec, TableInput)
        for index, named in enumerate(examples):
            adjusted = Adjustments() if is_table else None
            try:
                rows.append(
                    prepare(
                        named.get(),
                        spec,
                        field=named.field,
                        max_pixels=self._config.max_pixels,
                        strict=self._strict,
                        adjusted=adjusted,
                    )
                )
                if adjusted:
                    self.adjusted[index] = adjusted
            except InvalidInputError as error:
                self._refuse(index, error)
        if not rows:
            raise self.problems[0]
        return rows[0][np.newaxis] if len(rows) == 1 else np.stack(rows)

    def _tensors(self, spec: TensorInput) -> dict[str, NDArray[Any]]:
        self.problems, self.adjusted, self.size = {}, {}, len(self._examples)
        rows, fields = [], []
        for index, named in enumerate(self._examples):
            try:
                rows.append(read_tensors(named.get(), spec, named.field))
                fields.append(named.field)
            except InvalidInputError as error:
                self._refuse(index, error)
        if not rows:
            raise self.problems[0]
        return stack(rows, fields)

    def _refuse(self, index: int, error: InvalidInputError) -> None:
        if not self._partial:
            raise error
        self.problems[index] = error

    def _split(self, spec: Input) -> Iterator[NamedExample]:
        """Arrays from files may be one example or a batch of them: their shape tells."""
        for named in self._examples:
            if not isinstance(named.example, np.ndarray) or not is_batch(named.example, spec):
                yield named
                continue
            if not len(named.example):
                raise InvalidInputError(
                    named.field,
                    expected="one or more examples",
                    got=f"an empty array of shape {list(named.example.shape)}",
                )
            # A file of a few bytes can hold any number of empty rows.
            require_few(len(named.example), self._config)
            for index, row in enumerate(named.example):
                yield NamedExample(f"{named.field}[{index}]", row)
