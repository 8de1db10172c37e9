"""Users of a deployment: requests through the public edge, for as long as a block lasts."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from agui_dev.testbed.system import System


class Answer(NamedTuple):
    """What a user got; `at` is the monotonic time at which the request began."""

    status: int
    revision: str
    path: str
    at: float


@contextlib.contextmanager
def load(
    system: System, namespace: str, rate: float = 60.0, paths: Sequence[str] = ("/api/orders/1",)
) -> Iterator[list[Answer]]:
    """Asks for one of the paths about `rate` times a second until the block ends. A connection without an answer counts
    for nothing."""
    stop, answers = threading.Event(), list[Answer]()

    def ask() -> None:
        while not stop.wait(1 / rate):
            path, began = random.choice(paths), time.monotonic()
            with contextlib.suppress(OSError):
                status, revision, _ = system.get(namespace, path)
                answers.append(Answer(status, revision, path, began))

    thread = threading.Thread(target=ask, name="load")
    thread.start()
    try:
        yield answers
    finally:
        stop.set()
        thread.join(15)
