"""The gateway's settings as the table in docs/settings.md: `python -m tests.settings_table` prints it."""

from collections.abc import Iterator

from rockstar_serving.gateway.settings import settings, variable
from rockstar_serving.options import as_text


def rows() -> Iterator[str]:
    """The table's lines, in the order of GatewayConfig."""
    yield "| variable | default | |"
    yield "| --- | --- | --- |"
    for setting in settings():
        default = as_text(setting.default)
        description = setting.help.replace("|", "\\|")
        yield f"| `{variable(setting)}` | {default and f'`{default}`'} | {description} |"


if __name__ == "__main__":
    print("\n".join(rows()))
