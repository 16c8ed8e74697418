"""Free ports, for programs that need a port number beforehand."""

import contextlib
import socket


def free_ports(count: int) -> list[int]:
    """Free ports of this machine."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


def free_decade() -> str:
    """All but the last digit of two free ports that end in 0 and 1."""
    for _ in range(200):
        (port,) = free_ports(1)
        decade = port // 10
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for last in (0, 1):
                stack.enter_context(socket.create_server(("", 10 * decade + last)))
            return str(decade)
    raise AssertionError("there are no two free ports side by side")
