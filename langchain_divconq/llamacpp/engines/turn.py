"""One generation at a time: a lock whose waiters can change their minds."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_POLL_SECONDS = 0.02


class Turn:
    """A lock that is asked for with a question: does the caller still want it?"""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    @contextmanager
    def taken(self, is_cancelled: Callable[[], bool] = lambda: False) -> Iterator[bool]:
        """Hold the turn; yields False, holding nothing, when the caller gave up while it waited."""
        while not (held := self._lock.acquire(timeout=_POLL_SECONDS)):
            if is_cancelled():
                break
        try:
            yield held
        finally:
            if held:
                self._lock.release()
