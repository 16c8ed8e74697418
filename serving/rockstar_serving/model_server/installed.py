"""Packages that the embedded model server needs beyond the base installation."""

import importlib.util

# Required packages of the extra `serve`. One of the two engines is enough: a model that needs the
# other one reports that it is missing.
_PACKAGES = ("google_crc32c", "grpc_health", "grpc_reflection", "httptools", "uvicorn")
_ENGINES = ("ai_edge_litert", "tensorflow")


def missing() -> str:
    """Name the missing packages and how to install them, in one line; "" if none is missing."""
    absent = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if all(importlib.util.find_spec(name) is None for name in _ENGINES):
        absent.insert(0, _ENGINES[0])
    if not absent:
        return ""
    return (
        f"the embedded model server needs {', '.join(absent)}: pip install 'rockstartf[serve]' "
        "(in a checkout: pip install '.[serve]')"
    )
