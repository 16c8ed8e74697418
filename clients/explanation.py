"""Which pixels made an answer: `POST /explain/<model>` of the gateway, for `HttpClient.call`."""

from urllib.parse import quote, urlencode

import msgspec

from clients.arguments import require_clear
from clients.errors import ServerError, invalid_request
from clients.gateway_api import Steps
from clients.gateway_messages import Request
from serving.api.status import Code
from serving.errors import InvalidInputError


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
    try:
        return msgspec.json.decode(response.body, type=Explanation)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ServerError(
            Code.UNKNOWN, f"that is not a gateway of this release: no explanation ({error})"
        ) from error


def explanation_picture(
    model: str, image: bytes, version: int | None, of: str | None
) -> Steps[bytes]:
    """The same as a picture, PNG: the image with what spoke for the label in colour."""
    response = yield _request(model, image, version, of, "image/png")
    return response.body


def _request(model: str, image: bytes, version: int | None, of: str | None, wanted: str) -> Request:
    given = {name: value for name, value in (("version", version), ("of", of)) if value is not None}
    query = f"?{urlencode(given)}" if given else ""
    headers = {"Content-Type": "application/octet-stream", "Accept": wanted}
    return Request("POST", f"/explain/{quote(model, safe='')}{query}", headers, image)
