"""How many REST connections there may be."""

import resource

import pytest

from rockstar_serving.model_server.rest_api.server import connection_limit


@pytest.mark.parametrize(
    ("files", "limit"),
    [(resource.RLIM_INFINITY, 1000), (2**20, 1000), (1024, 924), (64, 32)],
)
def test_connections_leave_files_for_others(
    files: int, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system allows few open files (ulimit -n), connections do not take all."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    assert connection_limit() == limit
