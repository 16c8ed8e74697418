"""A version of a model in this process: predictions with its contract, without a server."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rockstar_client.backend import Query, TensorResponse
from rockstar_client.bulk.batch_client import AdjustmentCounts, BatchClient, over_backend
from rockstar_client.bulk.items import Failed, Item, Result, cells
from rockstar_client.errors import call_error
from rockstar_client.examples import Example, ExampleLike, Inputs, as_examples, read_example
from rockstar_client.tfserving_messages import contract_in, contract_query
from rockstar_contract.contract import Contract, Prediction, TensorInput, Value
from rockstar_contract.errors import InvalidInputError
from rockstar_contract.inputs import is_batch
from rockstar_contract.manifest import MANIFEST_FILE
from rockstar_contract.version_folders import numbered, served_versions
from rockstar_serving.model_server.core import PredictQuery, predict
from rockstar_serving.model_server.engines.engine import Engine, LoadError
from rockstar_serving.model_server.engines.litert import MODEL_FILE, RUNTIME
from rockstar_serving.model_server.loading import load_verified
from rockstar_serving.model_server.options import EngineOptions
from tfs_api.status import StatusError

if TYPE_CHECKING:
    import pandas as pd

# Examples per run: more save no time in LiteRT, and take memory.
_BATCH = 32


@dataclass(frozen=True)
class LocalModel:
    """A version of a model, loaded by `rockstar_serving.load`; thread-safe.

    It pickles as its folder. Each process that unpickles it loads the version once, at its first
    use, from the same path, and raises a LoadError if the folder has changed.

    Attributes:
        folder: of the version.
        top: labels that are listed.
        strict: whether rows with missing values, unknown categories or other columns are errors.
        threads: of one run.
        sha256: of the manifest, which has the hash of each file; without one, of model.tflite.
    """

    folder: Path
    top: int
    strict: bool
    threads: int
    sha256: str

    @classmethod
    def load(cls, folder: str | Path, top: int, strict: bool, threads: int) -> "LocalModel":
        """Load a version; see `rockstar_serving.load`."""
        for name, number in (("top", top), ("threads", threads)):
            if number < 1:
                raise InvalidInputError(name, expected="1 or more", got=str(number))
        version_folder = _find_version(Path(folder)).absolute()
        model = cls(version_folder, top, strict, threads, _hash(version_folder))
        if isinstance(model.contract.input, TensorInput):
            raise LoadError(
                f"{folder} takes tensors by name: load() predicts with images or rows; serve the "
                "model, and call it with a client"
            )
        return model

    def __reduce__(self) -> tuple[Any, ...]:
        return _shared, (self.folder, self.top, self.strict, self.threads, self.sha256)

    @property
    def contract(self) -> Contract:
        """The contract: labels, input and metrics."""
        return self._backend.served

    @property
    def column_types(self) -> dict[str, type]:
        """The names of the columns of `table`, and the type of their values besides None."""
        types: dict[str, type] = {"value": float}
        if self.contract.task == "classification":
            types = {"label": str, "score": float}
            for number in range(2, min(self.top, len(self.contract.labels)) + 1):
                types |= {f"label_{number}": str, f"score_{number}": float}
        return types | {"version": int, "error": str}

    def __call__(self, examples: Inputs) -> list[Prediction | Value]:
        """Predict; the inputs are those of `HttpClient.predict`.

        Raises:
            ValueError: an example cannot be used.
        """
        predictions: list[Prediction | Value] = []
        for result in self.results(self._items(examples)):
            if isinstance(result.outcome, Failed):
                raise ValueError(f"{result.item.name}: {result.outcome.reason}")
            predictions.append(result.outcome)
        return predictions

    def table(self, examples: Inputs) -> dict[str, list[Any]]:
        """Predict for a table: columns with a value for each example, see `column_types`.

        An example that cannot be used gets an `error`, and None in the other columns.
        """
        return self.columns(self.results(self._items(examples)))

    def results(
        self, items: Iterable[Item], counts: AdjustmentCounts | None = None
    ) -> Iterator[Result]:
        """Predict items of a bulk prediction, in their order; each is read when it is needed.

        `counts` collects what was imputed and ignored in rows.
        """
        predict_batch = over_backend(
            self._backend, self.contract.model, top=self.top, strict=self.strict, counts=counts
        )
        client, rest = BatchClient(predict_batch, patience=0), iter(items)
        while batch := list(islice(rest, _BATCH)):
            yield from client.predict(batch)

    def columns(self, results: Iterable[Result]) -> dict[str, list[Any]]:
        """Arrange results in the columns of `table`."""
        columns: dict[str, list[Any]] = {name: [] for name in self.column_types}
        for _, version, outcome in results:
            if isinstance(outcome, Failed):
                row: dict[str, Any] = {"error": outcome.reason}
            else:
                row = cells(version, outcome)
            for name, values in columns.items():
                values.append(row.get(name))
        return columns

    @cached_property
    def _backend(self) -> "_LiteRTBackend":
        engine = load_verified(
            self.folder, RUNTIME, EngineOptions(prefer_tflite=True, intra_op_threads=self.threads)
        )
        if _hash(self.folder) != self.sha256:
            raise LoadError(f"{self.folder} is not the version that was loaded first: it changed")
        return _LiteRTBackend(engine, self.folder)

    def _items(self, examples: Inputs) -> Iterator[Item]:
        if isinstance(examples, np.ndarray) and (
            # A column of paths or files, or a batch of arrays.
            examples.dtype.kind in "OSU" or is_batch(examples, self.contract.input)
        ):
            examples = list(examples)
        for number, example in enumerate(as_examples(examples)):
            path = f" ({example})" if isinstance(example, (str, Path)) else ""
            yield Item(f"examples[{number}]{path}", "", 0, (), partial(_read_one, example))


def _load_pyfunc(folder: str) -> "_PyFunc":
    """Load a version for mlflow.pyfunc, which calls the function of this name."""
    return _PyFunc(LocalModel.load(folder, top=3, strict=False, threads=1))


@dataclass(frozen=True)
class _PyFunc:
    """A model of mlflow.pyfunc."""

    model: LocalModel

    def predict(self, examples: Inputs) -> "pd.DataFrame":
        """Predict for a table as `LocalModel.table` does."""
        import pandas as pd

        return pd.DataFrame(self.model.table(examples))


class _LiteRTBackend:
    """A loaded version as a PredictBackend.

    Attributes:
        served: its contract.
    """

    def __init__(self, engine: Engine, folder: Path) -> None:
        self._engine = engine
        name = folder.parent.name or folder.name
        self._version = next(iter(numbered([folder.name])), 0)
        self.served = contract_in(self.predict(contract_query(Query(name))), name)

    def contract(self, query: Query) -> Contract:  # noqa: ARG002
        return self.served

    def predict(self, query: Query) -> TensorResponse:
        run = PredictQuery(lambda _: query.inputs, query.signature, query.outputs)
        try:
            return TensorResponse(predict(self._engine, run).outputs, self._version)
        except StatusError as error:
            raise call_error(error.code, error.message) from error


@lru_cache(maxsize=4)
def _shared(*fields: Any) -> LocalModel:
    """Unpickle a model: a process that gets the same one with many tasks loads it once."""
    return LocalModel(*fields)


def _read_one(example: ExampleLike) -> Example:
    try:
        found = read_example(example, "item")
    except InvalidInputError as error:  # its field has the path, which is in the name of the item
        raise InvalidInputError(
            "item", expected=error.expected, got=error.got, hint=error.hint
        ) from error
    if len(found) > 1:
        got = f"a CSV file with {len(found)} rows"
        hint = "read it with pandas.read_csv, and pass the table"
        raise InvalidInputError("item", expected="one example", got=got, hint=hint)
    return found[0].example


def _find_version(folder: Path) -> Path:
    """The folder itself if it holds a model, else its highest version."""
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise LoadError(f"{folder} {what}: expected the folder of a version, such as models/cnn/3")
    if (folder / MODEL_FILE).is_file():
        if not RUNTIME.installed:
            raise LoadError(f"{folder} needs {RUNTIME.name}: {RUNTIME.install}")
        return folder
    versions = served_versions(folder)
    if not versions:
        raise LoadError(
            f"{folder} holds no {MODEL_FILE} and no version: expected the folder of a version, "
            f"such as models/cnn/3; to make a {MODEL_FILE}, {RUNTIME.export}"
        )
    return _find_version(versions[max(versions)])


def _hash(folder: Path) -> str:
    manifest = folder / MANIFEST_FILE
    with (manifest if manifest.is_file() else folder / MODEL_FILE).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
