"""Which pixels or columns made an answer: the gateway's `/explain`, for `HttpClient.call`."""

from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from rockstar_client.errors import ServerError, invalid_request
from rockstar_client.examples import require_clear
from rockstar_client.gateway_api import Request, Steps
from rockstar_contract.csv_rows import write_rows
from rockstar_contract.errors import InvalidInputError
from rockstar_contract.tables import TextRow
from tfs_api.status import Code

T = TypeVar("T")


class Explanation(msgspec.Struct, frozen=True):
    """What spoke for an answer.

    Attributes:
        model: name.
        version: that answered.
        label: that is explained.
        score: its probability.
        method: how it was found, "occlusion".
        window: side of the square that was covered, in pixels of the model's input.
        stride: from one to the next.
        heatmap: by how much the score falls when a pixel is covered, row by row.
    """

    model: str
    version: int
    label: str
    score: float
    method: str
    window: int
    stride: int
    heatmap: list[list[float]]


class ColumnEffect(msgspec.Struct, frozen=True):
    """What a column did to an answer.

    Attributes:
        name: of the column.
        value: that was sent; None where it is missing.
        replaced_by: its mean in training, or its most frequent category.
        effect: by how much the score, or the predicted value, falls when it is replaced.
    """

    name: str
    value: Any
    replaced_by: float | str | None
    effect: float


class RowExplanation(msgspec.Struct, frozen=True):
    """What each column of a row did to an answer.

    Attributes:
        model: name.
        version: that answered.
        method: how it was found, "replacement".
        columns: the strongest effect first.
        label: that is explained; None for a regression.
        score: its probability; None for a regression.
        value: that a regression predicts.
    """

    model: str
    version: int
    method: str
    columns: list[ColumnEffect]
    label: str | None = None
    score: float | None = None
    value: float | None = None


# Made once: msgspec reads a class at its first use, which crashes when threads do so together.
_EXPLANATION = msgspec.json.Decoder(Explanation)
_ROW_EXPLANATION = msgspec.json.Decoder(RowExplanation)


def explanation(
    model: str, image: bytes, version: int | None, of: str | None
) -> Steps[Explanation]:
    """Ask what spoke for a label, or for the likeliest one.

    Args:
        model: name.
        image: an image file.
        version: None is the newest.
        of: the label.

    Raises:
        CallError: the call failed.
    """
    try:
        require_clear(model, version, None)
    except InvalidInputError as error:
        raise invalid_request(error) from error
    response = yield _request(model, image, version, of, "application/json")
    return _decoded(response.body, _EXPLANATION)


def row_explanation(
    model: str, row: TextRow, version: int | None, of: str | None
) -> Steps[RowExplanation]:
    """Ask what each column did to a label's score, or to the value that a regression predicts.

    Args:
        model: name.
        row: by column names.
        version: None is the newest.
        of: the label; None is the likeliest.

    Raises:
        CallError: the call failed.
    """
    try:
        require_clear(model, version, None)
    except InvalidInputError as error:
        raise invalid_request(error) from error
    body = write_rows([row])
    response = yield _request(model, body, version, of, "application/json", "text/csv")
    return _decoded(response.body, _ROW_EXPLANATION)


def explanation_picture(
    model: str, image: bytes, version: int | None, of: str | None
) -> Steps[bytes]:
    """The same as a picture, PNG: the image with what spoke for the label in colour."""
    response = yield _request(model, image, version, of, "image/png")
    return response.body


def _decoded(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ServerError(
            Code.UNKNOWN, f"that is not a gateway of this release: no explanation ({error})"
        ) from error


def _request(
    model: str,
    body: bytes,
    version: int | None,
    of: str | None,
    wanted: str,
    sent: str = "application/octet-stream",
) -> Request:
    given = {name: value for name, value in (("version", version), ("of", of)) if value is not None}
    query = f"?{urlencode(given)}" if given else ""
    headers = {"Content-Type": sent, "Accept": wanted}
    return Request("POST", f"/explain/{quote(model, safe='')}{query}", headers, body)
