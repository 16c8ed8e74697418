"""An OpenAPI document with resolved references."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jsonschema import Draft202012Validator

Json = dict[str, Any]


@dataclass(frozen=True)
class Operation:
    """A method of a path; all references in it are resolved, except in schemas."""

    path: str
    method: str
    described: Json
    parameters: list[Json]
    responses: dict[str, Json]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class Document:
    """An OpenAPI document."""

    def __init__(self, document: Json, *, strict: bool = False) -> None:
        """Load a document; `strict` forbids what no schema mentions."""
        self.document = _closed(copy.deepcopy(document)) if strict else document

    def operations(self) -> Iterator[Operation]:
        for path, item in self.document["paths"].items():
            for method, described in item.items():
                yield Operation(
                    path,
                    method.upper(),
                    described,
                    [self.resolved(each) for each in described["parameters"]],
                    {s: self.resolved(r) for s, r in described["responses"].items()},
                )

    def resolved(self, node: Json) -> Json:
        """The target of a reference."""
        if "$ref" not in node:
            return node
        _, *steps = node["$ref"].split("/")
        found = self.document
        for step in steps:
            found = found[step]
        return found

    def errors(self, value: Any, schema: Json) -> list[str]:
        """The errors of a value."""
        whole = {**schema, "components": self.document["components"]}
        found = Draft202012Validator(whole).iter_errors(value)
        return [f"{error.json_path}: {error.message}" for error in found]


def _closed(node: Any) -> Any:
    if isinstance(node, dict):
        if "properties" in node and "type" in node:
            node.setdefault("additionalProperties", False)
        for child in node.values():
            _closed(child)
    if isinstance(node, list):
        for child in node:
            _closed(child)
    return node
