"""Callers that ask a gateway all the time, and note every request that is not answered."""

import itertools
import threading
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import requests

_TIMEOUT_S = 30.0


class Load:
    """A bounded load on one model for as long as its context lasts; nothing is tried twice.

    Args:
        url: the gateway's.
        model: the model that is asked.
        images: PNG files, sent one after the other.
        callers: requests at a time.
        pause: seconds that a caller rests after an answer.
    """

    def __init__(
        self, url: str, model: str, images: Sequence[bytes], callers: int = 4, pause: float = 0.05
    ) -> None:
        self.versions: Counter[int] = Counter()
        self.failures: list[str] = []
        self._url, self._pause = f"{url}/predict/{model}", pause
        self._images = itertools.cycle(images)
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(callers)]

    @property
    def answers(self) -> int:
        """Requests that were answered with a prediction."""
        with self._lock:
            return self.versions.total()

    def answered_since(self, before: int) -> bool:
        """Whether every caller has asked and been answered since there were so many answers."""
        return self.answers > before + 2 * len(self._threads)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join(_TIMEOUT_S)

    def _ask(self) -> None:
        with requests.Session() as session:
            while not self._done.is_set():
                with self._lock:
                    image = next(self._images)
                self._note(session, image)
                self._done.wait(self._pause)

    def _note(self, session: requests.Session, image: bytes) -> None:
        headers = {"Content-Type": "image/png"}
        try:
            response = session.post(self._url, data=image, headers=headers, timeout=_TIMEOUT_S)
            version = response.json()["version"] if response.ok else None
        except (requests.RequestException, ValueError, KeyError) as error:
            version, text = None, repr(error)
        else:
            text = f"{response.status_code} {response.text}"
        with self._lock:
            if version is None:
                self.failures.append(text[:500])
            else:
                self.versions[version] += 1
