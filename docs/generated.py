"""Reference pages as Markdown: the HTTP API, from its OpenAPI document, and the commands' help."""

import json
from collections.abc import Iterator
from typing import Any

import click
from click.testing import CliRunner

from rockstar_cli.__main__ import COMMANDS, cli
from rockstar_serving.gateway.app import create_app
from rockstar_serving.gateway.settings import GatewayConfig


def commands() -> str:
    """A section for each command, with what its --help prints."""
    runner = CliRunner(env={"COLUMNS": "80", "NO_COLOR": "1"})
    lines: list[str] = []
    for name in COMMANDS:
        result = runner.invoke(cli, [name, "--help"], prog_name="rockstar", catch_exceptions=False)
        if result.exit_code:
            raise click.ClickException(f"rockstar {name} --help: {result.output}")
        lines += [f"\n## rockstar {name}\n", "```text", result.output.rstrip(), "```\n"]
    return "\n".join(lines)


def http_api() -> str:
    """A section for each tag, with a section for each operation, and one for each schema."""
    config = GatewayConfig(access_log=False)
    document: Any = create_app(config).test_client().get("/openapi.json").json
    lines: list[str] = []
    for tag in document["tags"]:
        lines += [f"\n## {tag['name'].capitalize()}\n", tag.get("description", ""), ""]
        for path, item in document["paths"].items():
            for method, operation in item.items():
                if tag["name"] in operation.get("tags", ()):
                    lines += _operation(document, f"{method.upper()} {path}", operation)
    lines += ["\n## Schemas\n"]
    for name, schema in document["components"]["schemas"].items():
        lines += _schema(document, name, schema)
    return "\n".join(lines)


def _operation(document: Any, title: str, operation: Any) -> Iterator[str]:
    yield f"\n### {title}\n"
    yield from (operation.get("summary", ""), "", operation.get("description", ""), "")
    parameters = [_resolved(document, each) for each in operation.get("parameters", ())]
    if parameters:
        yield from ("| parameter | in | type | |", "| --- | --- | --- | --- |")
        for each in parameters:
            name = f"`{each['name']}`" + (" (required)" if each.get("required") else "")
            kind = _type(each.get("schema", {}))
            yield f"| {name} | {each['in']} | {kind} | {_cell(each.get('description', ''))} |"
        yield ""
    content = _resolved(document, operation.get("requestBody", {})).get("content", {})
    if content:
        yield from ("Request body:", "")
        yield from _contents(content)
        yield ""
    yield from ("| status | response | content |", "| --- | --- | --- |")
    for status, reference in operation["responses"].items():
        response = _resolved(document, reference)
        kinds = ", ".join(
            f"`{kind}`" + (f": {named}" if (named := _type(media.get("schema", {}))) else "")
            for kind, media in response.get("content", {}).items()
        )
        yield f"| {status} | {_cell(response.get('description', ''))} | {kinds} |"
    yield ""


def _contents(content: Any) -> Iterator[str]:
    for kind, media in content.items():
        named = _type(media.get("schema", {}))
        yield f"- `{kind}`" + (f": {named}" if named else "")
        examples = media.get("examples", {}).values()
        for example in [each["value"] for each in examples if "value" in each][:2]:
            text = example if isinstance(example, str) else json.dumps(example, ensure_ascii=False)
            if len(text) < 400:
                yield from (
                    "",
                    "  ```text",
                    *(f"  {line}" for line in text.splitlines()),
                    "  ```",
                    "",
                )


def _schema(document: Any, name: str, schema: Any) -> Iterator[str]:
    yield f"\n### {name}\n"
    yield from (schema.get("description", ""), "")
    members: dict[str, Any] = {}
    for part in (schema, *schema.get("allOf", ())):
        members |= _resolved(document, part).get("properties", {})
    if members:
        yield from ("| member | type | |", "| --- | --- | --- |")
        for member, each in members.items():
            required = " (required)" if member in schema.get("required", ()) else ""
            yield f"| `{member}`{required} | {_type(each)} | {_cell(each.get('description', ''))} |"
    elif kind := _type(schema):
        yield kind
    yield ""


def _resolved(document: Any, part: Any) -> Any:
    """What a reference points at."""
    while "$ref" in part:
        target = document
        for key in part["$ref"].removeprefix("#/").split("/"):
            target = target[key]
        part = target
    return part


def _type(schema: Any) -> str:
    """A short name of a type, with links to named schemas."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for word in ("oneOf", "anyOf", "allOf"):
        if word in schema:
            return " or ".join(dict.fromkeys(filter(None, map(_type, schema[word]))))
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(each)}`" for each in schema["enum"])
    kind = schema.get("type", "")
    if kind == "array" and (items := _type(schema.get("items", {}))):
        return f"array of {items}"
    return " or ".join(kind) if isinstance(kind, list) else kind


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
