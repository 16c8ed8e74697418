"""Every route with every malformed body: the error names the fix, and the next request succeeds."""

import base64
import gzip
import io
import json
import zipfile

import numpy as np
import pytest
from werkzeug.test import EnvironBuilder

from rockstar_serving.gateway.open_inference import HEADER_LENGTH
from tests.images import bomb, encoded, png, stroke
from tests.table_models import ROW
from tests.unit.gateway.conftest import LIMITED, FakeServer
from tests.unit.gateway.openapi_document import Document

OK_ARRAY = np.zeros((8, 8)).tolist()
OK_IMAGE = {"data": png(stroke()), "content_type": "image/png"}
JSON = "application/json"


def array(**changes):
    rows = [list(row) for row in OK_ARRAY]
    for place, value in changes.items():
        rows[int(place[1:])] = value
    return rows


def sent(data, content_type) -> dict:
    return {"data": data, "content_type": content_type}


def instances(*values):
    # Not Flask's encoder, which rejects NaN.
    return sent(json.dumps({"instances": values}), JSON)


def image(data):
    return sent(data, "image/png")


def files(*contents):
    form = {"image": [(io.BytesIO(data), name) for data, name in contents]}
    environ = EnvironBuilder(method="POST", data=form).get_environ()
    return sent(environ["wsgi.input"].read(), environ["CONTENT_TYPE"])


def npy(values, **options) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values, **options)
    return stream.getvalue()


def npz(compression=zipfile.ZIP_DEFLATED, **arrays) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, values in arrays.items():
            archive.writestr(f"{name}.npy", npy(values))
    return stream.getvalue()


def zipped(name, data) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, data)
    return stream.getvalue()


def oip(*inputs, more=b"", length=None, **document) -> dict:
    body = json.dumps({"inputs": inputs, **document}).encode()
    headers = {HEADER_LENGTH: str(len(body) if length is None else length)}
    return {"data": body + more, "headers": headers if more or length else {}}


HEAD = b'--x\r\nContent-Disposition: form-data; name="image"; filename=""\r\n\r\n'
NOISE = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
PIXELS = np.zeros((8, 8), np.float32)

# Errors of one example or the whole body: request, status, field, text in the message.
ALONE = {
    "not an image": (image(b"this is no image"), 400, "body", "PNG"),
    "empty image": (image(b""), 400, "body", "0 bytes"),
    "truncated image": (image(png(NOISE)[:-900]), 400, "body", "truncated"),
    "an image of a format that is not taken": (image(encoded(NOISE, "PCX")), 400, "body", "PNG"),
    "bomb": (image(bomb()), 413, "body", "pixels"),
    "bomb below Pillow's own limit": (image(bomb(1100, 1000)), 413, "body", "1100 x 1000"),
    "octets that are no image": (sent(b"\0" * 99, "application/octet-stream"), 400, "body", "PNG"),
    "body over the limit": (image(b"x" * 200_001), 413, "body", "200,000"),
    "no content type": (sent(b"x", None), 415, "Content-Type", "curl"),
    "another content type": (sent(b"x", "text/plain"), 415, "Content-Type", "text/plain"),
    "a form without parts": (sent(b"a", "application/x-www-form-urlencoded"), 415, "Content-Type", "curl"),
    "a form without files": (sent({"image": "C:\\fakepath\\7.png"}, "application/x-www-form-urlencoded"), 400, "body", "'image'; send the file (curl -F image=@"),
    "multipart without a file": (sent({"note": "hello"}, "multipart/form-data"), 400, "body", "note"),
    "multipart without a boundary": (sent(b"--x", "multipart/form-data"), 400, "Content-Type", "no boundary"),
    "multipart with another boundary": (sent(b"--x--", "multipart/form-data; boundary=y"), 400, "body", "boundary --y"),
    "multipart cut off": (sent(HEAD + b"abc", "multipart/form-data; boundary=x"), 400, "body", "ends with --x--"),
    "multipart, no disposition": (sent(b"--x\r\nA: b\r\n\r\nabc\r\n--x--", "multipart/form-data; boundary=x"), 400, "body", "Missing Content-Disposition"),
    "multipart, files not chosen": (sent(HEAD + b"\r\n--x--", "multipart/form-data; boundary=x"), 400, "body", "got no file in image"),
    "an unknown coding": ({**image(b"x"), "headers": {"Content-Encoding": "br"}}, 415, "Content-Encoding", "gzip or deflate"),
    "two codings": ({**image(b"x"), "headers": {"Content-Encoding": "gzip, gzip"}}, 415, "Content-Encoding", "gzip, gzip"),
    "no gzip": ({**image(b"x" * 20), "headers": {"Content-Encoding": "gzip"}}, 400, "body", "got something else (incorrect header check); leave"),
    "gzip cut off": ({**image(gzip.compress(png(stroke()))[:-9]), "headers": {"Content-Encoding": "gzip"}}, 400, "body", "too early"),
    "gzip of too much": ({**image(gzip.compress(bytes(10**7))), "headers": {"Content-Encoding": "gzip"}}, 413, "body", "200,000"),
    "multipart with a bad file": (files((b"x", "bad.png")), 400, "image (bad.png)", "PNG"),
    "multipart with a large field": (sent({"note": "x" * 70_000}, "multipart/form-data"), 400, "body", "note"),
    "multipart with many parts": (sent((HEAD + b"\r\n") * 1001 + b"--x--", "multipart/form-data; boundary=x"), 413, "body", "1000 parts"),
    "a ZIP archive of images": (files((zipped("7.png", png(stroke())), "digits.zip")), 400, "image (digits.zip)", "a ZIP archive with 7.png; send images themselves"),
    "a damaged ZIP archive": (image(b"PK\3\4word/document.xml"), 400, "body", "a damaged ZIP archive (21 bytes); send images themselves"),
    "npy cut off": (sent(npy(PIXELS)[:-1], "application/x-npy"), 400, "body", "255"),
    "npy header cut off": (sent(npy(PIXELS)[:40], "application/x-npy"), 400, "body", ".npy"),
    "npy of objects": (sent(npy(np.array([{}]), allow_pickle=True), "application/x-npy"), 400, "body", "dtype object"),
    "npy of texts": (sent(npy(np.array(["a"])), "application/x-npy"), 400, "body", "dtype <U1"),
    "npy of another shape": (sent(npy(PIXELS[1:]), "application/x-npy"), 400, "body", "[7, 8]"),
    "npy without an example": (sent(npy(np.zeros((0, 8, 8, 1))), "application/x-npy"), 400, "body", "[0, 8, 8, 1]"),
    "npy of 8-bit pixels": (sent(npy(PIXELS + 255), "application/x-npy"), 400, "body", "divide"),
    "npz cut off": (sent(npz(a=PIXELS)[:-30], "application/x-npz"), 400, "body", "damaged"),
    "npz without arrays": (sent(npz(), "application/x-npz"), 400, "body", "empty"),
    "npz compressed in another way": (sent(npz(zipfile.ZIP_LZMA, a=PIXELS), "application/x-npz"), 400, "body", "another way"),
    "npz that unpacks to too much": (sent(npz(a=np.zeros(200_000, np.uint8)), "application/x-npz"), 413, "body", "unpacked"),
    "npz with a bad array": (sent(npz(seven=PIXELS[1:]), "application/x-npz"), 400, "body (seven)", "[7, 8]"),
    "csv to a model of images": (sent(b"a,b\n1,2\n", "text/csv"), 400, "body row 1", "an image"),
    "csv that unpacks to too much": (sent(gzip.compress(b"a,b\n" + b"1,2\n" * 10**5), "text/csv"), 413, "body", "unpacked"),
    "an image compressed without saying so": (image(gzip.compress(png(stroke()))), 400, "body", "got an image; send images uncompressed"),
    "an image called CSV": (sent(png(stroke()), "text/csv"), 400, "body", "got an image"),
    "csv in many files": (files(*[(b"a,b\n" + b"1,2\n" * 5, "a.csv")] * 9), 413, "body", "at most 8 examples, got more"),
    "csv in many fields": (sent({"a": [b"a,b\n" + b"1,2\n" * 5] * 9}, "application/x-www-form-urlencoded"), 413, "body", "at most 8 examples, got more"),
    "csv without rows": (sent(b"a,b\n", "text/csv"), 400, "body", "no rows"),
    "csv with a ragged row": (sent(b"a,b\n1\n", "text/csv"), 400, "body", "line 2"),
    "csv that is not UTF-8": (sent(b"a,b\n1,\xff\n", "text/csv; charset=utf-8"), 400, "body", "0xff"),
    "empty JSON body": (sent(b"", JSON), 400, "body", "0 bytes"),
    "malformed JSON": (sent(b"{", JSON), 400, "body", "JSON"),
    "JSON in no known encoding": (sent(b"\xff\xfe\xfa", JSON), 400, "body", "JSON"),
    "an image called JSON": (sent(png(stroke()), JSON), 400, "body", "got a file, a form or text that is not UTF-8; curl -F image=@"),
    "an image under another name": (sent('{"image": "iVBORw0KGgo="}', JSON), 400, "body", "got “image”; an image goes as {"),
    "JSON too deep": (sent(b"[" * 100_000, JSON), 400, "body", "nested"),
    "JSON with a number of 5,000 digits": (sent(b'{"instances": [[' + b"1" * 5000 + b"]]}", JSON), 400, "body", "JSON"),
    "JSON list of numbers": (sent("[1]", JSON), 400, "instances[0]", "the number 1"),
    "JSON encoded twice": (sent(json.dumps(json.dumps({"instances": [OK_ARRAY]})), JSON), 400, "body", "text, as JSON encoded twice"),
    "columns without rows": (sent('{"columns": ["a"], "data": []}', JSON), 400, "data", "empty list"),
    "a row with too few columns": (sent('{"dataframe_split": {"columns": ["a", "b"], "data": [[1]]}}', JSON), 400, "data[0]", "expected 2 values, as columns, got 1"),
    "no rows of a data frame": (sent('{"dataframe_records": {}}', JSON), 400, "dataframe_records", "an empty object"),
    "JSON null": (sent("null", JSON), 400, "body", "null"),
    "inputs that are no object": (sent('{"inputs": 1}', JSON), 400, "inputs", "an object of arrays"),
    "JSON with a stray key": (sent(json.dumps({"instances": [OK_ARRAY], "modle": 1}), JSON), 400, "body", "modle"),
    "instances not a list": (sent('{"instances": 1}', JSON), 400, "instances", "list"),
    "a path in place of a file": (sent('{"instances": "7.png"}', JSON), 400, "instances[0]", "no URLs or paths are opened"),
    "no instances": (instances(), 400, "instances", "empty"),
    "too many instances": (instances(*[OK_ARRAY] * 9), 413, "body", "at most 8"),
    "not base64": (instances("§§§"), 400, "instances[0]", "text that starts with “§§§”"),
    "base64 in Python's notation": (instances("b'iVBORw0KGgo='"), 400, "instances[0]", "str() adds b'…'"),
    "base64 escaped twice": (instances(base64.b64encode(png(stroke())).decode()[:76] + "\\n"), 400, "instances[0]", "has “\\\\” at offset 76"),
    "base64 cut off": (instances(base64.b64encode(png(stroke())).decode()[:77]), 400, "instances[0]", "is cut off"),
    "base64 of no image": (instances(base64.b64encode(b"hello").decode()), 400, "instances[0]", "PNG"),
    "b64 of the wrong type": (instances({"b64": 5}), 400, "instances[0].b64", "number 5"),
    "a data URL without base64": (instances("data:image/png,abc"), 400, "instances[0]", ";base64"),
    "a null instance": (instances(None), 400, "instances[0]", "null"),
    "a row to a model of images": (instances(ROW), 400, "instances[0]", "b64"),
    "wrong shape": (instances([[0.5] * 8] * 7), 400, "instances[0]", "[7, 8]"),
    "wrong rank": (instances([0.5] * 64), 400, "instances[0]", "[64]"),
    "one array, not a list of them": (instances([0.5] * 8), 400, "instances[0]", "put the array into a list"),
    "a list of batches": (instances([[[[0.5]] * 8] * 8]), 400, "instances[0]", "not a list for each"),
    "empty array": (instances([]), 400, "instances[0]", "[0]"),
    "ragged array": (instances(array(_3=[0.5] * 7)), 400, "instances[0]", "ragged"),
    "text in an array": (instances(array(_3=["x"] * 8)), 400, "instances[0]", "text"),
    "null in an array": (instances(array(_3=[None] * 8)), 400, "instances[0]", "object"),
    "booleans": (instances([[True] * 8] * 8), 400, "instances[0]", "boolean"),
    "objects in an array": (instances(array(_3=[{}] * 8)), 400, "instances[0]", "object"),
    "NaN": (instances(array(_3=[float("nan")] * 8)), 400, "instances[0]", "NaN"),
    "infinity": (instances(array(_3=[float("inf")] * 8)), 400, "instances[0]", "infinity"),
    "8-bit pixels": (instances(array(_3=[255] * 8)), 400, "instances[0]", "divide"),
    "an integer beyond 64 bits": (instances(array(_3=[10**30] * 8)), 400, "instances[0]", "1e+30"),
}  # fmt: skip

# One invalid example of several; explanations take only one.
SEVERAL = {
    "multipart, second file bad": (files((png(stroke()), "ok.png"), (b"x", "bad.png")), 400, "image (bad.png)", "PNG"),
    "an instance of the wrong type": (instances(OK_ARRAY, 5), 400, "instances[1]", "number 5"),
    "the second one bad": (instances(OK_ARRAY, [[2.0] * 8] * 8), 400, "instances[1]", "0 to 1"),
}  # fmt: skip

INPUT = {"name": "image", "shape": [1, 8, 8, 1], "datatype": "FP32"}
VALUES = np.zeros(64).tolist()
SIZE = "inputs[0].parameters.binary_data_size"
TENSORS = {
    "empty body": ({"data": b""}, 400, "body", "inputs"),
    "malformed JSON": ({"data": b"{"}, 400, "body", "truncated"),
    "JSON in no known encoding": ({"data": b"\xff\xfe\xfa"}, 400, "body", "inputs"),
    "JSON too deep": ({"data": b'{"inputs": ' + b"[" * 100_000}, 400, "body", "inputs"),
    "JSON list": ({"data": "[]"}, 400, "body", "array"),
    "no inputs": (oip(), 400, "inputs", "one or more"),
    "an input without a shape": (oip({"name": "image"}), 400, "body", "shape"),
    "a name that is no text": (oip({**INPUT, "name": 5, "data": VALUES}), 400, "body", "name"),
    "no values": (oip(INPUT), 400, "inputs[0].data", "none"),
    "an unknown datatype": (oip({**INPUT, "datatype": "FP33", "data": [1]}), 400, "inputs[0].datatype", "FP33"),
    "too few values": (oip({**INPUT, "data": [1]}), 400, "inputs[0].data", "64 values"),
    "texts": (oip({**INPUT, "data": ["a"] * 64}), 400, "inputs[0].data", "text"),
    "null": (oip({**INPUT, "data": None}), 400, "inputs[0].data", "none"),
    "an unknown coding": ({"data": b"{}", "headers": {"Content-Encoding": "zstd"}}, 415, "Content-Encoding", "gzip or deflate"),
    "true": (oip({**INPUT, "data": [True] * 64}), 400, "inputs[0].data", "true or false"),
    "ragged values": (oip({**INPUT, "data": [[1], [1, 2]]}), 400, "inputs[0].data", "ragged"),
    "a negative size": (oip({**INPUT, "shape": [-1], "data": [1]}), 400, "inputs[0].shape", "[-1]"),
    "more sizes than an array has": (oip({**INPUT, "shape": [1] * 99, "data": [1]}), 400, "inputs[0].shape", "32"),
    "sizes beyond all memory": (oip({**INPUT, "shape": [0, 10**30], "data": []}), 400, "inputs[0].shape", "10000"),
    "values beyond the datatype": (oip({**INPUT, "datatype": "UINT8", "data": [300] * 64}), 400, "inputs[0].data", "300"),
    "fractions for integers": (oip({**INPUT, "datatype": "INT32", "data": [0.5] * 64}), 400, "inputs[0].data", "fraction"),
    "half floats in JSON": (oip({**INPUT, "datatype": "FP16", "data": [1] * 64}), 400, "inputs[0].data", "binary"),
    "the same input twice": (oip(*[{**INPUT, "data": VALUES}] * 2), 400, "inputs[1].name", "another name"),
    "bytes that are not there": (oip({**INPUT, "parameters": {"binary_data_size": 9}}, more=b"123"), 400, SIZE, "at most the 3"),
    "too few bytes": (oip({**INPUT, "parameters": {"binary_data_size": 3}}, more=b"123"), 400, SIZE, "256"),
    "a size that is no number": (oip({**INPUT, "parameters": {"binary_data_size": "3"}}, more=b"123"), 400, SIZE, "'3'"),
    "bytes left over": (oip({**INPUT, "data": VALUES}, more=b"left over"), 400, "body", "9"),
    "a length beyond the body": (oip({**INPUT, "data": VALUES}, length=10**6), 400, HEADER_LENGTH, "1000000"),
    "a length that is no number": (oip({**INPUT, "data": VALUES}, length="1.5"), 400, HEADER_LENGTH, "1.5"),
    "a length of 5,000 digits": (oip({**INPUT, "data": VALUES}, length="9" * 5000), 400, HEADER_LENGTH, "999"),
    "a signature that is no text": (oip({**INPUT, "data": VALUES}, parameters={"signature_name": 5}), 400, "parameters.signature_name", "5"),
    "body over the limit": ({"data": b"x" * 200_001}, 413, "body", "200,000"),
}  # fmt: skip


# In the format of TensorFlow Serving's errors, which clients expect.
ROWS = {
    "empty body": ({"data": b""}, 400, "JSON Parse error: The document is empty"),
    "malformed JSON": ({"data": b"{"}, 400, "JSON Parse error: "),
    "JSON in no known encoding": ({"data": b"\xff\xfe\xfa"}, 400, "JSON Parse error: "),
    "JSON too deep": ({"data": b"[" * 100_000}, 400, "JSON Parse error: Nested too deeply"),
    "a number of 5,000 digits": ({"data": b'{"instances": [' + b"1" * 5000 + b"]}"}, 400, "too large for a double"),
    "JSON list": ({"data": "[1]"}, 400, "Is not object"),
    "no examples": ({"data": "{}"}, 400, "key"),
    "a signature that is no text": ({"json": {"signature_name": 5, "instances": [1]}}, 400, "must be a string value"),
    "no gzip": ({"data": b"{}", "headers": {"Content-Encoding": "gzip"}}, 400, "Content-Encoding"),
    "an unknown coding": ({"data": b"{}", "headers": {"Content-Encoding": "br"}}, 415, "gzip or deflate"),
    "body over the limit": ({"data": b"x" * 200_001}, 413, "at most 200,000 bytes, got 200,001 bytes"),
}  # fmt: skip


def cases():
    """Path, whether errors are problem documents, request, status, field, text in the message."""
    for name, case in {**ALONE, **SEVERAL}.items():
        yield pytest.param("/predict/{model}", *case, id=f"predict, {name}")
    for name, case in ALONE.items():
        yield pytest.param("/predict/{model}?partial=true", *case, id=f"partial, {name}")
        yield pytest.param("/explain/{model}", *case, id=f"explain, {name}")
    for name, (request, *_) in SEVERAL.items():
        case = (request, 400, "body", "2 examples")
        yield pytest.param("/explain/{model}", *case, id=f"explain, {name}")
    for version in ("", "/versions/{version}"):
        for name, case in TENSORS.items():
            path = f"/v2/models/{{model}}{version}/infer"
            yield pytest.param(path, *case, id=f"infer{version and ' a version'}, {name}")


def rest_cases():
    for which in ("", "/versions/{version}", "/labels/{label}"):
        for verb in ("predict", "classify", "regress"):
            for name, case in ROWS.items():
                yield pytest.param(
                    f"/v1/models/{{model}}{which}:{verb}", *case, id=f"{verb}{which}, {name}"
                )


@pytest.fixture(scope="module")
def http(create_gateway):
    server = FakeServer()
    server.labels = {"stable": 1}
    return create_gateway(LIMITED, server).test_client()


@pytest.fixture(scope="module")
def document(http):
    return Document(http.get("/openapi.json").get_json(), strict=True)


@pytest.mark.parametrize(("path", "request_", "status", "field", "mentions"), list(cases()))
def test_the_error_names_field_and_fix(http, document, path, request_, status, field, mentions):
    response = http.post(path.format(model="toy", version=1), **request_)
    assert response.status_code == status, response.text
    assert response.headers["X-Request-ID"]
    check = says_problem if response.mimetype == "application/problem+json" else says_error
    check(response, field)
    assert mentions in json.dumps(response.get_json(), ensure_ascii=False)
    assert_documented(document, path.partition("?")[0], response)
    assert http.post("/predict/toy", **OK_IMAGE).status_code == 200


@pytest.mark.parametrize(("path", "request_", "status", "says"), list(rest_cases()))
def test_errors_as_tensorflow_serving_words_them(http, document, path, request_, status, says):
    response = http.post(path.format(model="toy", version=1, label="stable"), **request_)
    assert response.status_code == status, response.text
    assert response.get_json().keys() == {"error"}
    assert says in response.get_json()["error"]
    assert_documented(document, path, response)
    assert http.post("/predict/toy", **OK_IMAGE).status_code == 200


def says_problem(response, field):
    problem = response.get_json()
    assert problem["status"] == response.status_code
    assert problem["field"] == field
    assert all(problem[member] for member in ("detail", "expected", "got", "hint"))
    assert problem["request_id"] == response.headers["X-Request-ID"]


def says_error(response, field):
    """In one sentence: "field: expected …, got …; hint"."""
    assert response.get_json().keys() == {"error"}
    beginning, *rest = response.get_json()["error"].split(", got ")
    assert beginning.startswith(f"{field}: expected ")
    assert "; " in rest[-1]


def assert_documented(document, path, response):
    (operation,) = (each for each in document.operations() if str(each) == f"POST {path}")
    content = operation.responses[str(response.status_code)]["content"][response.mimetype]
    assert not document.errors(response.get_json(), content["schema"])


def test_each_route_that_takes_a_body_is_in_the_table(document):
    taken = {each.path for each in document.operations() if "requestBody" in each.described}
    assert taken == {case.values[0].partition("?")[0] for case in [*cases(), *rest_cases()]}
