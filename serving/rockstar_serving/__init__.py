"""The gateway, the model server, and the command that starts both."""


def installed_version() -> str:
    """The version of the installed package; empty for a checkout that is not installed."""
    # Imported on demand: it takes a hundredth of a second.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("rockstartf")
    except PackageNotFoundError:
        return ""


class ServeError(Exception):
    """The service cannot start or continue; the message is for the user."""
