"""The gateway, the model server, and the command that starts both."""


class ServeError(Exception):
    """The service cannot start or continue; the message is for the user."""
