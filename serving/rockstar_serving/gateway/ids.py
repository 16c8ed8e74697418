"""Ids of requests and traces."""

import random


def new_id(size: int) -> str:
    """Random hexadecimal digits.

    Nothing is kept secret by them, so the kernel need not be asked for each.

    Args:
        size: in bytes, each two digits.
    """
    return f"{random.getrandbits(8 * size):0{2 * size}x}"
