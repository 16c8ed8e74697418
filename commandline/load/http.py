"""A gateway under load, over HTTP/1.1."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

import aiohttp

from clients.tls import Tls
from commandline.load.plan import NO_CONNECTION, OK, TIMEOUT, Call


@dataclass(frozen=True)
class Body:
    """What a request sends."""

    content: bytes
    content_type: str


def bodies(files: Sequence[Path]) -> list[Body]:
    """Files as they are sent.

    Raises:
        OSError: one cannot be read.
    """
    return [
        Body(
            file.read_bytes(),
            "text/csv" if file.suffix.lower() == ".csv" else "application/octet-stream",
        )
        for file in files
    ]


@dataclass(frozen=True)
class HttpTarget:
    """Where to.

    Attributes:
        url: of the gateway.
        model: name.
        version: None is the newest.
        api_key: where the gateway asks for one.
        timeout: seconds that an answer may take.
        tls: whom to trust; None: the usual authorities.
    """

    url: str
    model: str
    version: int | None = None
    api_key: str | None = None
    timeout: float = 10.0
    tls: Tls | None = None

    @property
    def address(self) -> str:
        """What is asked, for people."""
        version = "" if self.version is None else f"?version={self.version}"
        return f"{self.url.rstrip('/')}/predict/{quote(self.model, safe='')}{version}"

    @asynccontextmanager
    async def calls(self, bodies: Sequence[Body], connections: int) -> AsyncIterator[Call]:
        """What sends the bodies in turn, over so many kept-alive connections."""
        headers = {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        async with aiohttp.ClientSession(
            headers=headers,
            connector=aiohttp.TCPConnector(
                limit=connections, ssl=self.tls.context() if self.tls else True
            ),
            timeout=aiohttp.ClientTimeout(total=self.timeout),
        ) as session:
            address = self.address

            async def call(number: int, _connection: int) -> str:
                body = bodies[number % len(bodies)]
                kind = {"Content-Type": body.content_type}
                try:
                    async with session.post(address, data=body.content, headers=kind) as response:
                        await response.read()
                        status = response.status
                except TimeoutError:
                    return TIMEOUT
                except aiohttp.ClientError:
                    return NO_CONNECTION
                return OK if status == HTTPStatus.OK else str(status)

            yield call
