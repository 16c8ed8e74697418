"""How a command ends: what a script can tell without reading words. In docs/command-line.md too."""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes."""

    OK = 0
    FAILED = 1  # it could not be done, or what was checked is not right
    USAGE = 2  # wrong arguments, options or settings
    UNREACHABLE = 3  # the service is away, has too much to do or does not answer in time
    SOME_FAILED = 4  # some of several things failed, the others are done
    INTERRUPTED = 130  # Ctrl-C
    NOBODY_READS = 141  # whoever read the output is gone, as in `| head -1`
