"""The embedded model server: TensorFlow Serving's flags, folders and APIs, without TF Serving."""

import importlib.util

# Required packages of the extra `serve`. One of the two engines is enough: a model that needs the
# other one reports that it is missing.
_PACKAGES = ("google_crc32c", "grpc_health", "grpc_reflection", "httptools", "uvicorn")
_ENGINES = ("ai_edge_litert", "tensorflow")


def missing_packages() -> str:
    """Name the missing packages and how to install them, in one line; "" if none is missing."""
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if all(importlib.util.find_spec(name) is None for name in _ENGINES):
        missing.insert(0, _ENGINES[0])
    if not missing:
        return ""
    return (
        f"the embedded model server needs {', '.join(missing)}: pip install 'rockstartf[serve]' "
        "(in a checkout: pip install '.[serve]')"
    )
