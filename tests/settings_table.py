"""The gateway's settings as the table in docs/settings.md: `python -m tests.settings_table` prints it."""

from collections.abc import Iterator

from rockstar_serving.gateway.settings import Setting, settings


def rows() -> Iterator[str]:
    """The table's lines, in the order of GatewayConfig."""
    yield "| variable | default | |"
    yield "| --- | --- | --- |"
    for setting in settings():
        description = (setting.meta.description or "").replace("|", "\\|")
        yield f"| `{setting.variable}` | {_default(setting)} | {description} |"


def _default(setting: Setting) -> str:
    value = setting.default
    if value in ("", ()):
        return ""
    if isinstance(value, tuple):
        value = " ".join(value)
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


if __name__ == "__main__":
    print("\n".join(rows()))
