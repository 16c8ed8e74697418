"""The examples are right: they fit their schemas, and the gateway takes them."""

import json

import pytest

from tests.unit.gateway.docs.openapi_document import Document

# By the name of the example, the model that it is for.
MODELS = dict.fromkeys(("row", "rows", "columns", "array", "request"), "table")


def values(content):
    return [each["value"] for each in content.get("examples", {}).values()]


def test_every_example_fits_its_schema(document):
    document = Document(document, strict=True)
    checked = 0
    for operation in document.operations():
        body = operation.described.get("requestBody", {"content": {}})
        contents = [body["content"], *(each["content"] for each in operation.responses.values())]
        for content in (media for each in contents for media in each.values()):
            for value in values(content):
                assert not document.errors(value, content["schema"]), operation
                checked += 1
        for parameter in operation.parameters:
            if "example" in parameter:
                assert not document.errors(parameter["example"], parameter["schema"]), parameter
    assert checked > 80


def test_every_operation_has_examples(document):
    for operation in Document(document).operations():
        for status, response in operation.responses.items():
            if operation.path != "/openapi.json" or status != "200":
                assert any(values(media) for media in response["content"].values()), operation


def requests(document):
    for operation in document.operations():
        body = operation.described.get("requestBody")
        for media_type, content in body["content"].items() if body else [("", {})]:
            for name, each in content.get("examples", {"": {"value": None}}).items():
                if each["value"] is not None or not body:
                    yield operation, media_type, name, each["value"]


def test_every_example_of_a_request_is_answered_as_described(http, server, document):
    strict = Document(document, strict=True)
    sent = 0
    server.labels = {"stable": 1}
    for operation, media_type, name, value in requests(strict):
        data = value if isinstance(value, str) or value is None else json.dumps(value)
        response = http.open(
            operation.path.format(model=MODELS.get(name, "toy"), version=1, label="stable"),
            method=operation.method,
            data=data,
            content_type=media_type or None,
        )
        assert response.status_code == 200, (operation, name, response.text)
        content = operation.responses["200"]["content"][response.mimetype]
        if response.is_json:
            assert not strict.errors(response.get_json(), content["schema"]), operation
        sent += 1
    assert sent >= 36


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        ("/predict/toy", "text/csv"),
        ("/predict/toy", "application/x-npy"),
        ("/explain/toy", "image/png"),
    ],
)
def test_every_form_of_an_answer_is_described(http, document, path, accept):
    (operation,) = (
        each
        for each in Document(document).operations()
        if each.path.replace("{model}", "toy") == path
    )
    body = operation.described["requestBody"]["content"]["application/json"]
    image = body["examples"]["image"]["value"]
    response = http.post(path, json=image, headers={"Accept": accept})
    assert response.mimetype == accept
    assert accept in operation.responses["200"]["content"]
