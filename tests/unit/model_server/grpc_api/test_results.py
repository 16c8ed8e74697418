"""Results as messages."""

import numpy as np
import pytest

from rockstar_serving.model_server.examples import Classification
from rockstar_serving.model_server.grpc_api.results import classification_message
from tfs_api.status import Code, StatusError


def test_labels_that_are_no_text_are_refused() -> None:
    label = b"\xff".decode("utf-8", "surrogateescape")
    with pytest.raises(StatusError, match="is no UTF-8 text") as caught:
        classification_message(Classification([[label]], np.zeros((1, 1), np.float32), "s"))
    assert caught.value.code == Code.INVALID_ARGUMENT
