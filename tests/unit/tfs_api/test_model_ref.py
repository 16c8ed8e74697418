"""URLs of the REST API, besides those of the golden requests in tests/testdata/rest."""

from typing import Any
from urllib.parse import quote

import pytest

from tfs_api.model_ref import Action, ModelRef, path_of, route
from tfs_api.status import Code, StatusError

RESERVED = "!#$%&'()*+,/:;=?@[]"


@pytest.mark.parametrize(
    ("method", "path", "action", "ref"),
    [
        ("POST", "/v1/models/m:classify", Action.CLASSIFY, ModelRef("m")),
        ("POST", "/v1/models/m/versions/7:regress", Action.REGRESS, ModelRef("m", version=7)),
        ("POST", "/v1/models/m/labels/a%20b:predict", Action.PREDICT, ModelRef("m", label="a b")),
        ("POST", "/v1/models/a%2Fb%C3%A9+c:predict", Action.PREDICT, ModelRef("a/bé+c")),
        (
            *("GET", f"/v1/models/{quote(RESERVED, safe='')}/labels/{quote(RESERVED, safe='')}"),
            *(Action.STATUS, ModelRef(RESERVED, label=RESERVED)),
        ),
        ("GET", "/v1/models/metadata", Action.STATUS, ModelRef("metadata")),
    ],
)
def test_routes(method: str, path: str, action: Action, ref: ModelRef) -> None:
    found = route(method, path)
    assert (found.action, found.ref) == (action, ref)


@pytest.mark.parametrize(
    ("method", "path", "code", "message"),
    [
        (
            "GET",
            "/v1/models/labels/l/metadata",
            Code.INVALID_ARGUMENT,
            "Missing model name in request.",
        ),
        ("GET", "/v1", Code.NOT_FOUND, "Not found: GET /v1"),
        ("POST", "/v2/models/m:predict", Code.NOT_FOUND, "Not found: POST /v2/models/m:predict"),
        *(
            (method, path, Code.INVALID_ARGUMENT, f"Malformed request: {method} {path}")
            for method, path in [
                ("GET", "/v1/"),
                ("GET", "/v1/models/m/versions/1/labels/l"),
                ("GET", "/v1/models/m/versions/٧"),
                ("GET", "/v1/models/m/metadata/"),
                ("POST", "/v1/models"),
                ("POST", "/v1/models/m:predict/"),
                ("POST", "/v1/models/m/metadata"),
            ]
        ),
        (
            "POST",
            f"/v1/models/m/versions/{'9' * 5000}:predict",
            Code.INVALID_ARGUMENT,
            f"Failed to convert version: {'9' * 5000} to numeric.",
        ),
    ],
)
def test_other_urls_are_rejected(method: str, path: str, code: Code, message: str) -> None:
    with pytest.raises(StatusError) as caught:
        route(method, path)
    assert (caught.value.code, caught.value.message) == (code, message)


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("/v1/models/m?x#y", "/v1/models/m?x#y"),
        ("http://host:8501/v1/models/m", "/v1/models/m"),
        ("HTTPS://host", ""),
        ("*", "*"),
        ("/v1/models/Ã©", "/v1/models/é"),
        ("/v1/models/\xff", "/v1/models/\ufffd"),
    ],
)
def test_uris(uri: str, path: Any) -> None:
    assert path_of(uri) == path
