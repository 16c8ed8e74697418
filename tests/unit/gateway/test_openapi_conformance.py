"""The gateway against its own document, with valid and invalid requests by Schemathesis."""

import io

import numpy as np
import pytest
import schemathesis
from hypothesis import settings
from hypothesis import strategies as st

from rockstar_serving.gateway.app import create_app
from tests.images import encoded, stroke
from tests.unit.gateway.conftest import LIMITED, FakeServer

CONFIG = {
    "checks": {
        # 504 is right for a timeout below a microsecond.
        "not_a_server_error": {"expected-statuses": ["2xx", "4xx", "504"]},
        # Valid arrays depend on the model, which a schema cannot express.
        "positive_data_acceptance": {"enabled": False},
    },
    "operations": [
        {
            "include-path-regex": "/ready",
            # Here, 503 is a regular result.
            "checks": {"not_a_server_error": {"expected-statuses": ["2xx", "4xx", "503", "504"]}},
        },
        {
            "include-path-regex": "^/v1/",
            # TensorFlow Serving returns 400 for an unsupported method, and allows GET and POST everywhere.
            "checks": {
                "unsupported_method": {"enabled": False},
                "allow_header_conformance": {"enabled": False},
            },
        },
    ],
    # Unknown headers and arguments are not errors.
    "generation": {"allow-extra-parameters": False},
}


def load():
    app = create_app(LIMITED, FakeServer.of_all_kinds())
    config = schemathesis.Config.from_dict(CONFIG)
    return schemathesis.openapi.from_wsgi("/openapi.json", app, config=config)


def npy():
    stream = io.BytesIO()
    np.save(stream, np.zeros((8, 8)))
    return stream.getvalue()


# Without these, it would send only noise.
for kind in ("png", "jpeg", "webp", "avif", "bmp", "gif", "tiff"):
    image = st.just(encoded(stroke(), kind.upper())) | st.binary()
    schemathesis.openapi.media_type(f"image/{kind}", image)
for kind in ("heic", "x-icon"):
    schemathesis.openapi.media_type(f"image/{kind}", st.binary())
for kind in ("x-npy", "x-npz"):
    schemathesis.openapi.media_type(f"application/{kind}", st.just(npy()) | st.binary())

api = load()


@api.parametrize()
@settings(max_examples=25)
def test_every_response_is_as_documented(case):
    case.call_and_validate()


@pytest.mark.parametrize("accept", ["text/csv", "application/x-npy", "image/png"])
@api.exclude(path_regex="^/(?!predict|explain)").parametrize()
@settings(max_examples=10)
def test_every_format_of_a_response_is_as_documented(case, accept):
    case.call_and_validate(headers={"Accept": accept})
