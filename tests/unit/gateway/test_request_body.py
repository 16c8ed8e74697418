"""Bodies with a Content-Encoding on every route, and bodies without a Content-Type."""

import base64
import gzip
import json
import zlib
from urllib.parse import urlencode

import numpy as np
import pytest

from tests.images import png
from tests.unit.gateway.conftest import post

# Noise, so that its base64 has every letter.
PNG = png(np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8))
PIXELS = np.zeros((1, 8, 8, 1), np.float32)
TENSOR = {"name": "image", "shape": [1, 8, 8, 1], "datatype": "FP32", "data": [0.0] * 64}
ROUTES = {
    "/predict/toy": (PNG, "image/png"),
    "/explain/toy": (PNG, "image/png"),
    "/v1/models/toy:predict": (json.dumps({"instances": PIXELS.tolist()}).encode(), None),
    "/v2/models/toy/infer": (json.dumps({"inputs": [TENSOR]}).encode(), "application/json"),
}


@pytest.fixture(scope="module")
def http(shared_http):
    return shared_http


def raw_deflate(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


CODINGS = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "GZIP": gzip.compress,
    "identity, gzip": gzip.compress,
    "deflate": zlib.compress,
    " deflate ": raw_deflate,  # as Internet Explorer, old .NET and others interpret the word
    "identity": bytes,
    "UTF-8": bytes,  # a charset, which many clients put here
    "": bytes,
}


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("coding", CODINGS)
def test_every_route_takes_compressed_bodies(http, path, coding):
    body, kind = ROUTES[path]
    plain = http.post(path, data=body, content_type=kind)
    headers = {"Content-Encoding": coding}
    response = http.post(path, data=CODINGS[coding](body), content_type=kind, headers=headers)
    assert (response.status_code, response.data) == (200, plain.data)


@pytest.mark.parametrize("path", ROUTES)
def test_other_codings_are_refused_with_those_that_are_taken(http, path):
    body, kind = ROUTES[path]
    response = http.post(path, data=body, content_type=kind, headers={"Content-Encoding": "br"})
    assert response.status_code == 415
    assert response.headers["Accept-Encoding"] == "gzip, deflate"
    assert "br" in response.text


def test_gzip_in_several_members(http):
    """As created by pigz, bgzip or appending to a file; zeros at the end are padding."""
    half = len(PNG) // 2
    body = gzip.compress(PNG[:half]) + gzip.compress(b"") + gzip.compress(PNG[half:]) + bytes(99)
    response = http.post(
        "/predict/toy", data=body, content_type="image/png", headers={"Content-Encoding": "gzip"}
    )
    assert response.status_code == 200


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, raw_deflate])
def test_the_limit_is_that_of_the_decompressed_body(http, config, pack):
    """However little it is compressed, because any bytes may follow a PNG."""
    coding = {"Content-Encoding": "gzip" if pack is gzip.compress else "deflate"}
    for more, status in ((0, 200), (1, 413)):
        body = pack(PNG + bytes(config.max_body_bytes - len(PNG) + more))
        response = http.post("/predict/toy", data=body, content_type="image/png", headers=coding)
        assert response.status_code == status, response.text


UNTOLD = [None, "application/x-www-form-urlencoded", "text/plain;charset=UTF-8"]


@pytest.mark.parametrize("kind", [*UNTOLD, "text/json", "application/vnd.x+json"])
def test_json_without_its_content_type(http, kind):
    """As sent by curl -d, which TensorFlow Serving's documentation shows, and by fetch() with a text."""
    body = "\n" + json.dumps({"instances": PIXELS.tolist()})
    assert http.post("/predict/toy", data=body, content_type=kind).status_code == 200


@pytest.mark.parametrize("kind", [*UNTOLD, "binary/octet-stream", "application/png"])
def test_a_file_without_its_content_type(http, kind):
    """As sent by curl --data-binary, and by object stores."""
    assert http.post("/predict/toy", data=PNG, content_type=kind).status_code == 200


URL = "data:image/png;base64," + base64.b64encode(PNG).decode()


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (URL, "text/plain;charset=UTF-8"),
        (URL, None),
        (urlencode({"imgBase64": URL, "model": "toy"}), "application/x-www-form-urlencoded"),
        (f"image={URL}", "application/x-www-form-urlencoded"),
        (URL.partition(",")[2], None),
        (urlencode({"image": URL.partition(",")[2]}), "application/x-www-form-urlencoded"),
        (json.dumps([URL.replace("/", "%2F").replace("+", "%2B")]), "application/json"),
        (URL.replace("image/png", "application/octet-stream"), "text/plain"),
        (URL.replace("image/png", ""), "text/plain"),
        (urlencode({"größe": PNG, "é": "ü"}), "application/x-www-form-urlencoded"),
        (urlencode({"file": URL.replace("image/png", "")}), "application/x-www-form-urlencoded"),
        ("\n" + URL.replace("data:image/png;base64", "DATA:;name=7.png;BASE64"), None),
        (json.dumps(URL), "application/json"),
        (json.dumps(URL), "text/plain;charset=UTF-8"),
        (json.dumps({"inputs": URL.partition(",")[2]}), "application/json"),
        (json.dumps({"instances": {"b64": URL.partition(",")[2]}}), "application/json"),
    ],
)
def test_the_drawing_of_a_canvas(http, body, kind):
    """As sent by web pages: a field of a form, JSON or only the text, escaped or not.

    FileReader names no type, or any, for a file that its system does not know.
    """
    plain = post(http, data=PNG)
    response = http.post("/predict/toy", data=body, content_type=kind)
    assert (response.status_code, response.data) == (200, plain.data)


@pytest.fixture
def pieces(monkeypatch):
    """Read JSON and base64 in pieces, as if they were large."""
    for target in (
        "tfs_api.json_pieces._PIECE",
        "rockstar_serving.gateway.open_inference.PLAIN_BODY",
        "rockstar_serving.gateway.bodies._BASE64_PIECE",
    ):
        monkeypatch.setattr(target, 101)


INSTANCES = ROUTES["/v1/models/toy:predict"][0]


@pytest.mark.usefixtures("pieces")
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/predict/toy", INSTANCES),
        ("/v1/models/toy:predict", INSTANCES),
        ("/v2/models/toy/infer", ROUTES["/v2/models/toy/infer"][0]),
    ],
)
def test_json_in_pieces(http, path, body):
    def send(body: bytes) -> int:
        response = http.post(path, data=body, content_type="application/json")
        return int(response.status_code)

    assert send(body + b" \n") == 200
    # TensorFlow Serving ignores what follows the document.
    assert send(body + b"}") == (200 if path.startswith("/v1") else 400)
    assert send(body[:-1]) == send(body.replace(b", ", b",, ", 40)) == 400


@pytest.mark.usefixtures("pieces")
def test_base64_in_pieces(http):
    def send(text: str) -> int:
        body = json.dumps({"instances": [{"b64": text}]})
        response = http.post("/predict/toy", data=body, content_type="application/json")
        return int(response.status_code)

    text = base64.b64encode(PNG).decode()
    wrapped = "\n".join(text[at : at + 76] for at in range(0, len(text), 76))
    for form in (text, wrapped, text.replace("+", "-").replace("/", "_").rstrip("=") + " "):
        assert send(form) == 200
    assert send(f"{text[:400]}===={text[400:]}") == 400
