"""What the embedded model server needs beyond the base installation."""

import importlib.util

# Packages of the extra `serve` that it cannot start without. An engine may be missing: there are
# two, and whoever needs one that is not there is told.
_PACKAGES = ("google_crc32c", "grpc_health", "grpc_reflection", "waitress")
_ENGINES = ("ai_edge_litert", "tensorflow")


def missing() -> str:
    """What is missing and how to install it, in one line; empty where nothing is."""
    absent = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if all(importlib.util.find_spec(name) is None for name in _ENGINES):
        absent.insert(0, _ENGINES[0])
    if not absent:
        return ""
    return (
        f"the embedded model server needs {', '.join(absent)}: pip install 'rockstartf[serve]' "
        "(in a checkout: pip install '.[serve]')"
    )
