"""The model server with an engine that waits for a file `proceed` beside the address file.

It writes the number of rows of each run as a line to a file `rows` there.
"""

import sys
import threading

from rockstar_serving.model_server import __main__ as program
from rockstar_serving.model_server.deadline import NO_DEADLINE
from rockstar_serving.model_server.engines import litert
from rockstar_serving.model_server.engines.litert import LiteRTEngine
from rockstar_serving.model_server.flags import PROGRAM, FlagParser
from tests.waiting import until


def main() -> int:
    folder = FlagParser(PROGRAM).parse(sys.argv[1:]).address_file.parent

    class SlowEngine(LiteRTEngine):
        def run(self, signature, feeds, fetches, deadline=NO_DEADLINE):
            with folder.joinpath("rows").open("a") as file:
                file.write(f"{len(next(iter(feeds.values())))}\n")
            folder.joinpath(f"entered.{threading.get_ident()}").touch()
            until(lambda: (folder / "proceed").exists(), what="the test lets it proceed")
            return super().run(signature, feeds, fetches, deadline)

    litert.LiteRTEngine = SlowEngine  # type: ignore[misc]
    return program.main()


if __name__ == "__main__":
    sys.exit(main())
