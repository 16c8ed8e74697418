"""The gateway's API, for clients of any transport: each call as the requests that it is made of.

Predictions are asked for as an array: that is every label's probability, and the least work for
the gateway. Rows of a table are answered as JSON, which also says what was imputed; so does a model
that answers tensors by name. What the numbers mean is in the contract of the version that answered,
which is read once, through the model's own signature.
"""

import io
import json
from collections.abc import Generator, Mapping
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import msgspec
import numpy as np
from google.protobuf import json_format
from numpy.typing import NDArray

from rockstar_client.answer import Answer, answer_of
from rockstar_client.arguments import require_clear
from rockstar_client.bodies import Body, encode, renamed
from rockstar_client.described import ModelInfo, ModelMetadata, has_contract, signatures_of
from rockstar_client.errors import (
    CallError,
    InvalidRequestError,
    NotFoundError,
    ServerError,
    UnavailableError,
    invalid_request,
)
from rockstar_client.examples import Inputs, UnreadableExampleError, named_examples
from rockstar_client.gateway_messages import Request, Response
from rockstar_contract.contract import CONTRACT_INPUT, CONTRACT_SIGNATURE, Contract, ContractError
from rockstar_contract.errors import InvalidInputError
from rockstar_contract.tables import Adjustments
from rockstar_contract.tensor_inputs import from_json
from tfs_api.messages.prediction_pb2 import SignatureDefMap
from tfs_api.status import Code

Result = TypeVar("Result")
Steps = Generator[Request, Response, Result]

# How often a version that answered may be away when it is asked what its answer means: it is gone
# since, or not on every server yet.
_ATTEMPTS = 32
_JSON = "application/json"
# Labels to list; the gateway lists as many as there are.
_ALL = 2**31 - 1
# The gateway answers tensors by name as JSON, all else as one array.
_ACCEPT = f"application/x-npy, {_JSON};q=0.5"
_CONTRACT_QUERY = json.dumps(
    {"signature_name": CONTRACT_SIGNATURE, "instances": [{CONTRACT_INPUT: 0}]}
).encode()


class GatewayApi:
    """The calls, and the contracts that they have read; thread-safe."""

    def __init__(self) -> None:
        # By model and version. A contract never changes and is small: at worst an unused one stays.
        self._contracts: dict[tuple[str, int], Contract] = {}

    def predict(
        self,
        model: str,
        inputs: Inputs,
        version: int | None,
        label: str | None,
        top: int,
        strict: bool,
    ) -> Steps[Answer]:
        """Predict inputs.

        Raises:
            CallError: the call failed, or the inputs cannot be used.
        """
        try:
            require_clear(model, version, label, top)
            examples = named_examples(inputs)
            table = any(isinstance(each.example, Mapping) for each in examples)
            request = _prediction(model, encode(examples), version, label, table, strict)
        except UnreadableExampleError as error:
            raise invalid_request(error, error.index) from error
        except InvalidInputError as error:
            raise invalid_request(error) from error
        for _ in range(_ATTEMPTS):
            try:
                response = yield request
            except InvalidRequestError as error:
                raise renamed(error, examples) from error
            is_json = response.headers.get("content-type", "").startswith(_JSON)
            answered, outputs, adjusted = _rows(response) if is_json else _outputs(response)
            try:
                contract = yield from self._contract(model, answered)
            except NotFoundError:
                continue
            if isinstance(outputs, list) and contract.task == "tensors":
                return Answer(model, answered, outputs=_columns(outputs, contract))
            if isinstance(outputs, list):
                outputs = _numbers(outputs, contract)
            if outputs.shape[1:] != (contract.output_width,):
                raise ServerError(
                    Code.INTERNAL,
                    f"model {model} version {answered} should answer {contract.output_width} "
                    f"numbers for each input, got shape {list(outputs.shape)}",
                )
            return answer_of(model, contract, outputs, top, adjusted)
        raise UnavailableError(Code.UNAVAILABLE, f"model {model} keeps changing its version")

    def models(self) -> Steps[tuple[ModelInfo, ...]]:
        """What is served."""
        document = (yield Request("GET", "/v1/models")).json()
        try:
            return msgspec.convert(document["models"], tuple[ModelInfo, ...])
        except (KeyError, TypeError, msgspec.ValidationError) as error:
            raise _no_gateway(f"its list of models cannot be read ({error})") from error

    def metadata(self, model: str, version: int | None, label: str | None) -> Steps[ModelMetadata]:
        """What a version says of itself."""
        try:
            require_clear(model, version, label)
        except InvalidInputError as error:
            raise invalid_request(error) from error
        response = yield Request("GET", f"{_path(model, version, label)}/metadata")
        document = response.json()
        try:
            answered = int(document["model_spec"]["version"])
            described = json_format.ParseDict(
                document["metadata"]["signature_def"], SignatureDefMap(), ignore_unknown_fields=True
            )
            signatures = signatures_of(described.signature_def)
        except (KeyError, TypeError, ValueError, json_format.ParseError) as error:
            raise _no_gateway(f"its metadata cannot be read ({error})") from error
        contract = None
        if has_contract(signatures):
            contract = yield from self._contract(model, answered)
        return ModelMetadata(model, answered, signatures, contract)

    def ready(self) -> Steps[bool]:
        """Whether every model answers."""
        try:
            yield Request("GET", "/readyz", once=True)
        except CallError:
            return False
        return True

    def _contract(self, model: str, version: int) -> Steps[Contract]:
        known = self._contracts.get((model, version))
        if known is not None:
            return known
        path = f"{_path(model, version, None)}:predict"
        headers = {"Content-Type": "application/json"}
        response = yield Request("POST", path, headers, _CONTRACT_QUERY)
        try:
            contract = Contract.from_json(response.json()["predictions"][0])
        except (KeyError, IndexError, TypeError, ContractError) as error:
            raise ServerError(
                Code.INTERNAL, f"the contract of model {model} cannot be read: {error}"
            ) from error
        contract = msgspec.structs.replace(contract, version=version)
        self._contracts[model, version] = contract
        return contract


def _prediction(
    model: str, body: Body, version: int | None, label: str | None, table: bool, strict: bool
) -> Request:
    picked = {
        "version": version,
        "label": label,
        "top": _ALL if table else None,
        "strict": "true" if strict else None,
    }
    query = urlencode({name: value for name, value in picked.items() if value is not None})
    path = f"/predict/{quote(model, safe='')}" + (f"?{query}" if query else "")
    headers = {"Content-Type": body.content_type, "Accept": _JSON if table else _ACCEPT}
    return Request("POST", path, headers, body.content)


def _path(model: str, version: int | None, label: str | None) -> str:
    path = f"/v1/models/{quote(model, safe='')}"
    if version is not None:
        return f"{path}/versions/{version}"
    return path if label is None else f"{path}/labels/{quote(label, safe='')}"


def _outputs(response: Response) -> tuple[int, NDArray[Any], dict[int, Adjustments]]:
    """The version that answered, and what: float32 [n, labels], or [n, 1] for a regression."""
    try:
        version = int(response.headers["x-model-version"])
        outputs: NDArray[Any] = np.load(io.BytesIO(response.body), allow_pickle=False)
    except (KeyError, ValueError, EOFError) as error:
        raise _no_gateway("it did not answer an array") from error
    return version, outputs, {}


def _rows(
    response: Response,
) -> tuple[int, list[dict[str, Any]], dict[int, Adjustments]]:
    """The version that answered, what it answered to each input, and what was changed in inputs."""
    document = response.json()
    try:
        version, items = int(document["version"]), [dict(row) for row in document["predictions"]]
        ignored = msgspec.convert(document.get("ignored", []), list[str])
        changes = {
            index: Adjustments(item.get("imputed", {}), item.get("other", {}), ignored)
            for index, item in enumerate(items)
        }
    except (KeyError, TypeError, ValueError) as error:
        raise _no_gateway("it did not answer predictions") from error
    return version, items, {index: each for index, each in changes.items() if each}


def _numbers(items: list[dict[str, Any]], contract: Contract) -> NDArray[np.float32]:
    """[inputs, labels], or [inputs, 1] for a regression."""
    try:
        if contract.task == "regression":
            return np.array([[item["value"]] for item in items], np.float32)
        scores = [{each["label"]: each["score"] for each in item["top"]} for item in items]
        return np.array([[each[label] for label in contract.labels] for each in scores], np.float32)
    except (KeyError, TypeError, ValueError) as error:
        raise _no_gateway("it did not answer predictions") from error


def _columns(rows: list[dict[str, Any]], contract: Contract) -> dict[str, NDArray[Any]]:
    """Arrays [inputs, …] by name."""
    try:
        return {
            output.name: from_json([row[output.name] for row in rows], output.dtype)
            for output in contract.outputs
        }
    except (KeyError, TypeError, ValueError) as error:
        raise ServerError(
            Code.INTERNAL,
            f"model {contract.model} version {contract.version} did not answer the outputs that "
            "its contract has",
        ) from error


def _no_gateway(why: str) -> ServerError:
    return ServerError(Code.UNKNOWN, f"that is not a gateway of this release: {why}")
