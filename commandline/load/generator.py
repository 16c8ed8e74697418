"""Sends the requests of a plan, in one event loop.

A closed loop waits for answers, so a server that stalls is asked less just then, and its stall
counts once ("coordinated omission"). With a rate, each request is due at a time of its own, and its
latency counts from then, also where it had to wait for a free connection: what a user would wait.
"""

import asyncio
import math
import time
from collections.abc import Iterator

from commandline.load.plan import Call, LoadPlan, Record


async def run(plan: LoadPlan, call: Call) -> Record:
    """Send requests as planned, and wait for the last answer."""
    record, clock = Record(), asyncio.get_running_loop().time
    begin, cpu = clock(), time.process_time()
    tickets = _tickets(plan)
    await asyncio.gather(
        *(
            _ask(connection, plan, call, record, tickets, begin)
            for connection in range(plan.connections)
        )
    )
    record.seconds = clock() - begin
    record.cpu_seconds = time.process_time() - cpu
    if plan.rate is not None:
        # The tickets that nobody took are those of requests that were due meanwhile.
        record.unsent = sum(1 for _ in tickets)
    return record


def _tickets(plan: LoadPlan) -> Iterator[int]:
    """The numbers of the requests, shared by all connections."""
    most = math.inf if plan.requests is None else plan.requests
    if plan.rate is not None:
        most = min(most, math.ceil(plan.rate * plan.seconds))
    number = 0
    while number < most:
        yield number
        number += 1


async def _ask(
    connection: int,
    plan: LoadPlan,
    call: Call,
    record: Record,
    tickets: Iterator[int],
    begin: float,
) -> None:
    """One connection: a request at a time."""
    clock = asyncio.get_running_loop().time
    while clock() < begin + plan.seconds:
        number = next(tickets, None)
        if number is None:
            return
        due = clock()
        if plan.rate is not None:
            due = begin + number / plan.rate
            if (early := due - clock()) > 0:
                await asyncio.sleep(early)
        outcome = await call(number, connection)
        record.add(outcome, clock() - due)
