"""Continuous requests to gateways; every request that fails is recorded."""

import itertools
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Self

import requests

from tests.waiting import until

_TIMEOUT_S = 30.0


class Load:
    """Callers that post images until the context ends, without retries.

    Args:
        urls: URLs of gateways, called in turn; the list may change.
        model: name of the model.
        images: PNG files, sent in turn.
        callers: concurrent requests.
        pause: seconds that a caller waits after a response.
        path: where to post to, by default /predict/MODEL.
        headers: of requests, in addition.

    Attributes:
        versions: number of predictions by version; 0 if the response does not name it.
        failures: errors of failed requests.
    """

    def __init__(
        self,
        urls: Sequence[str],
        model: str,
        images: Sequence[bytes],
        callers: int = 4,
        pause: float = 0.0,
        path: str = "",
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.urls = list(urls)
        self.versions: Counter[int] = Counter()
        self.failures: list[str] = []
        self._path, self._pause = path or f"/predict/{model}", pause
        self._images = itertools.cycle(images)
        self._headers = {"Content-Type": "image/png", **headers}
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(callers)]

    @property
    def answers(self) -> int:
        """Number of predictions."""
        with self._lock:
            return self.versions.total()

    def more(self, seconds: float = 30.0) -> None:
        """Wait until each caller has sent a request and got a prediction, or one has failed."""
        enough = self.answers + 2 * len(self._threads)
        until(lambda: self.failures or self.answers > enough, seconds, "predictions under load")

    def until_version(self, version: int) -> None:
        """Wait until a version has responded, or a request has failed."""
        until(lambda: self.failures or version in self.versions, what=f"version {version}")

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join(_TIMEOUT_S)

    def _run(self) -> None:
        with requests.Session() as session:
            for turn in itertools.count():
                if self._done.wait(self._pause):
                    return
                with self._lock:
                    image = next(self._images)
                self._call(session, self.urls[turn % len(self.urls)], image)

    def _call(self, session: requests.Session, url: str, image: bytes) -> None:
        try:
            response = session.post(
                f"{url}{self._path}", image, headers=self._headers, timeout=_TIMEOUT_S
            )
            version = response.json().get("version", 0) if response.ok else None
        except (requests.RequestException, ValueError) as error:
            version, text = None, repr(error)
        else:
            text = f"{response.status_code} {response.text}"
        with self._lock:
            if version is None:
                self.failures.append(text[:500])
            else:
                self.versions[version] += 1
