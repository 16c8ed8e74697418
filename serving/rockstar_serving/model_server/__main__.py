"""`python -m rockstar_serving.model_server --model_name=cnn --model_base_path=models/cnn`."""

import gc
import sys

from rockstar_serving.logs import replace_closed_streams
from rockstar_serving.model_server import missing_packages


def main() -> int:
    """Serve, or print what to install; returns the exit status."""
    replace_closed_streams()
    reason = missing_packages()
    if reason:
        print(reason, file=sys.stderr)
        return 1
    gc.disable()  # imports leave no garbage, and collections take a tenth of the start
    from rockstar_serving.model_server.command import main as serve

    gc.enable()
    return serve()


if __name__ == "__main__":
    sys.exit(main())
