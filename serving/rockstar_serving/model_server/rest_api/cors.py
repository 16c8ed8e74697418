"""What browsers ask before a page of another origin may use this API."""

import re

from tfs_api.status import Code, StatusError

# As TensorFlow Serving's `http_rest_api_util.cc`.
CORS_HEADERS = [
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Methods", "POST, GET"),
    ("Access-Control-Allow-Headers", "Content-Type"),
]


def check_preflight(origin: str) -> None:
    """Pass an OPTIONS request that comes from a page.

    Args:
        origin: its header Origin, or nothing.

    Raises:
        StatusError: FAILED_PRECONDITION, it comes from none.
    """
    if not re.search("https?://", origin):
        raise StatusError(Code.FAILED_PRECONDITION, "Origin header is missing in CORS preflight")
