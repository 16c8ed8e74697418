"""Names that the model server does not know: which one, and what there is."""

from urllib.parse import quote

from rockstar_client.errors import NotFoundError
from rockstar_serving.gateway.context import context
from rockstar_serving.gateway.errors import UnknownNameError
from rockstar_serving.gateway.state import gateway


def not_found(model: str, version: int | None = None, label: str | None = None) -> UnknownNameError:
    """Says whether it is the model, the version or the label that is not there, and what is."""
    try:
        states = gateway().backend.status(model, timeout=context().time_left())
    except NotFoundError:
        served = ", ".join(gateway().served.names)
        return UnknownNameError(
            "model",
            expected=f"a served model ({served})",
            got=repr(model),
            summary=f"there is no model {model}; available: {served}",
        )
    if label is not None:
        return UnknownNameError(
            "label",
            expected=f"a label that {model} has",
            got=repr(label),
            hint="?version= asks for a version by its number",
            summary=f"{model} has no label {label}",
        )
    failed = [state for state in states if state.error and version in (None, state.version)]
    available = ", ".join(str(s.version) for s in states if s.state == "AVAILABLE") or "none"
    return UnknownNameError(
        "version",
        expected=f"an available version of {model} ({available})",
        got="the newest" if version is None else str(version),
        hint=f"GET /v1/models/{quote(model, safe='')} says why one does not load" if failed else "",
        summary=f"{model} has no version{'' if version is None else f' {version}'}; "
        f"available: {available}",
    )
