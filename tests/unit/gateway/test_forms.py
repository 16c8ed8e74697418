"""Forms of real clients: names in any encoding, odd boundaries, parts without file names."""

import base64
import gzip
import json

import numpy as np
import pytest

from rockstar_serving.gateway.forms import Part, read_form
from rockstar_serving.gateway.settings import GatewayConfig
from tests.images import encoded, png, stroke

PNG = png(stroke())


def form(*parts: tuple[bytes, bytes], boundary: bytes = b"x") -> bytes:
    """A form of parts, each the lines of its header and its data."""
    lines = (b"--" + boundary + b"\r\n" + head + b"\r\n\r\n" + data for head, data in parts)
    return b"\r\n".join([*lines, b"--" + boundary + b"--\r\n"])


def disposition(more: bytes = b"", name: bytes = b"image") -> bytes:
    return b'Content-Disposition: form-data; name="' + name + b'"' + more


FILE = disposition(b'; filename="7.png"')


def answer(http, body: bytes, content_type: str = "multipart/form-data; boundary=x", **headers):
    return http.post("/predict/toy", data=body, content_type=content_type, headers=headers)


def labels(http, body: bytes, content_type: str = "multipart/form-data; boundary=x", **headers):
    response = answer(http, body, content_type, **headers)
    assert response.status_code == 200, response.text
    return [each["label"] for each in response.get_json()["predictions"]]


@pytest.fixture
def label(http):
    """The prediction for the image alone."""
    response = http.post("/predict/toy", data=PNG, content_type="image/png")
    return response.get_json()["predictions"][0]["label"]


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("größe.png".encode(), "größe.png"),
        ("größe.png".encode("cp1252"), "größe.png"),
        ("测试.png".encode(), "测试.png"),
        ("测试.png".encode("gbk"), "²âÊÔ.png"),
        ("表7.png".encode("cp932"), None),
        (b"a%22b.png", None),
        (b'a\\"b.png', 'a"b.png'),
        (b"C:\\temp\\7.png", None),
        (b"7;8.png", "7;8.png"),
        (b"", ""),
    ],
)
def test_file_names_in_any_encoding(http, label, raw, name):
    body = form((disposition(b'; filename="' + raw + b'"'), PNG))
    (part,) = read_form("multipart/form-data; boundary=x", [body])
    assert part.data == PNG
    assert name is None or part.filename == name
    assert labels(http, body) == [label]


def test_a_file_name_as_older_clients_encode_it(http, label):
    body = form((disposition(b"; filename*=utf-8''gr%C3%B6%C3%9Fe.png"), PNG))
    (part,) = read_form("multipart/form-data; boundary=x", [body])
    assert part.filename == "größe.png"
    assert labels(http, body) == [label]


@pytest.mark.parametrize(
    ("boundary", "header"),
    [
        (b"----=_Part_1_99.12", "boundary=----=_Part_1_99.12"),
        (b"----=_Part_1_99.12", 'boundary="----=_Part_1_99.12"'),
        (b"a:b/c?d,e", "boundary=a:b/c?d,e"),
        (b"a b", 'charset=utf-8; boundary="a b"; x=y'),
        (b'a"b', r'boundary="a\"b"'),
        (b"'x'", "boundary='x'"),
        (b"x" * 200, f"BOUNDARY={'x' * 200} ; charset=utf-8"),
        (b"---------------------------974767299852498929531610575", " boundary=---------------------------974767299852498929531610575"),
    ],
)  # fmt: skip
def test_boundaries_that_are_unusual_or_not_quoted(http, label, boundary, header):
    body = form((FILE, PNG), boundary=boundary)
    assert labels(http, body, f"multipart/form-data; {header}") == [label]


@pytest.mark.parametrize(
    "head",
    [
        disposition(),
        disposition() + b"\r\nContent-Type: image/png",
        disposition() + b"\r\nContent-Type: application/octet-stream",
        disposition(b'; filename=""'),
        b"content-disposition: FORM-DATA; filename=7.png; name=image",
        b"Content-Type: image/png\r\nContent-Transfer-Encoding: binary\r\n" + disposition(),
    ],
)
def test_an_image_without_a_file_name(http, label, head):
    assert labels(http, form((head, PNG), (disposition(name=b"note"), b"hello"))) == [label]


@pytest.mark.parametrize("kind", ["GIF", "BMP", "JPEG", "WEBP", "TIFF"])
def test_any_kind_of_image_without_a_file_name(http, kind):
    assert len(labels(http, form((disposition(), encoded(stroke(), kind))))) == 1


def test_a_file_input_that_was_left_empty_is_no_file(http, label):
    empty = disposition(b'; filename=""', b"second") + b"\r\nContent-Type: application/octet-stream"
    assert labels(http, form((empty, b""), (FILE, PNG))) == [label]
    response = answer(http, form((empty, b"")))
    assert response.status_code == 400
    assert "one or more files, got no file in second" in response.get_json()["detail"]


def test_an_empty_file_is_named(http):
    response = answer(http, form((disposition(b'; filename="7.png"'), b"")))
    assert response.status_code == 400
    assert response.get_json()["field"] == "image (7.png)"


def test_images_as_text(http, label):
    text = base64.encodebytes(PNG)
    coded = FILE + b"\r\nContent-Transfer-Encoding: base64"
    canvas = b"data:image/png;base64," + base64.b64encode(PNG)
    untyped = b"data:;base64," + base64.b64encode(PNG)
    parts = ((coded, text), (disposition(), canvas), (disposition(), untyped))
    assert labels(http, form(*parts)) == [label] * 3


def test_json_in_a_field(http, label):
    instances = json.dumps({"instances": [{"b64": base64.b64encode(PNG).decode()}]}).encode()
    typed = disposition() + b"\r\nContent-Type: application/json"
    for head in (disposition(), typed):
        assert labels(http, form((disposition(name=b"note"), b"hello"), (head, instances))) == [
            label
        ]
    assert labels(http, form((typed, b'{"user": 7}'), (FILE, PNG))) == [label]


@pytest.mark.parametrize(
    ("head", "pack"),
    [
        (b"\r\nContent-Type: text/csv", bytes),
        (
            b"\r\nContent-Type: text/csv; charset=utf-16",
            lambda rows: rows.decode().encode("utf-16"),
        ),
        (b'; filename="A.CSV"\r\nContent-Type: application/vnd.ms-excel', bytes),
        (b'; filename="a.csv.gz"', gzip.compress),
    ],
)
def test_csv_files_in_a_form(shared_http, head, pack):
    rows = b"petal width,color\n2,red\n1,white\n"
    body = form((disposition() + head, pack(rows)))
    response = shared_http.post(
        "/predict/table", data=body, content_type="multipart/form-data; boundary=x"
    )
    assert len(response.get_json()["predictions"]) == 2


@pytest.mark.parametrize("size", [1, 7, 1000, 65536])
def test_however_the_pieces_are_cut(size):
    noise = np.random.default_rng(0).bytes(200_000) + b"\r\n--x\r\n--"[:-2] + b"y"
    body = form((FILE, PNG), (disposition(name=b"b"), noise.replace(b"\r\n--x", b"\r\n-x")))
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    first, second = read_form("multipart/form-data; boundary=x", pieces)
    assert first == Part("image", "7.png", "", None, PNG)
    assert second.data == noise.replace(b"\r\n--x", b"\r\n-x")


@pytest.mark.parametrize("size", [300_000, 2**20, 16 * 2**20])
def test_files_of_any_size_up_to_the_limit(server, size, create_gateway):
    """Chunks of a large file do not count as a large field."""
    config = GatewayConfig(models=("toy",), max_body_bytes=16 * 2**20 + 1000)
    http = create_gateway(config, server).test_client()
    # Any bytes may follow a PNG.
    large = PNG + bytes(size - len(PNG))
    assert len(labels(http, form((FILE, large)))) == 1
    assert answer(http, form((FILE, large), (FILE, bytes(16 * 2**20)))).status_code == 413


def test_a_compressed_form(http, label):
    body = gzip.compress(form((FILE, PNG)))
    assert labels(http, body, **{"Content-Encoding": "gzip"}) == [label]
