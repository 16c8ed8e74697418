"""The model server while its models load forever; writes `loading` beside the address file."""

import sys
import threading
from typing import Any

from rockstar_serving.model_server import __main__ as program
from rockstar_serving.model_server.flags import PROGRAM, FlagParser
from rockstar_serving.model_server.models.manager import Manager


def main() -> int:
    folder = FlagParser(PROGRAM).parse(sys.argv[1:]).address_file.parent

    def load(_: Any) -> None:
        folder.joinpath("loading").touch()
        threading.Event().wait()

    manager: Any = Manager
    manager.start = load
    return program.main()


if __name__ == "__main__":
    sys.exit(main())
