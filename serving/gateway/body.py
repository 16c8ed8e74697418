"""The body of a request, as it came."""

from io import BytesIO

from flask import Request, request
from werkzeug.exceptions import RequestEntityTooLarge

from serving.gateway.state import gateway


class InMemory(Request):
    """A request whose files stay in memory, as every other body does.

    Werkzeug would write large ones to the folder for temporary files, which is small where nothing
    else may be written; the workers' counts lie there, too.
    """

    def _get_file_stream(self, *_: object, **__: object) -> BytesIO:
        """Where a file of a form goes, however it is described."""
        return BytesIO()


def whole_body() -> bytes:
    """The bytes of the current request's body.

    Raises:
        RequestEntityTooLarge: more than the settings allow.
    """
    here, length = gateway(), request.content_length
    most = here.config.max_body_bytes
    if here.turns.shared() and length is not None and length <= most:
        # It is there as a whole: nothing of what Werkzeug watches for can happen.
        body: bytes = request.environ["wsgi.input"].read(length)
        return body
    body = request.get_data(cache=False)
    # A chunked body does not say its length beforehand: Werkzeug stops at the limit, silently.
    if length is None and len(body) >= most:
        raise RequestEntityTooLarge
    return body
