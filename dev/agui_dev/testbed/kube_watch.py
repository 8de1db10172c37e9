"""A watch of one object, so that whoever waits for a state of it does not ask for it again and again."""

from __future__ import annotations

import contextlib
import http.client
import json
import queue
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any
from urllib.parse import quote, urlencode

Json = dict[str, Any]
# The server ends a watch after this time, and it is begun again.
WATCH_SECONDS = 120


class Watch:
    """The changes of one object after a resource version, read by a thread of its own."""

    def __init__(self, connection: http.client.HTTPConnection, collection: str, name: str, version: str) -> None:
        self._connection = connection
        query = {"watch": "1", "resourceVersion": version, "timeoutSeconds": str(WATCH_SECONDS)}
        self._path = f"{collection}?{urlencode(query)}&fieldSelector={quote(f'metadata.name={name}')}"
        self._changes = queue.SimpleQueue[Json | None]()
        self._reader = threading.Thread(target=self._read, name="agui-watch", daemon=True)

    def newer(self, seconds: float) -> Json | None:
        """The next version of the object; raises TimeoutError when there is none within `seconds`. None: the object is
        deleted, or the watch has ended."""
        try:
            return self._changes.get(timeout=seconds)
        except queue.Empty:
            raise TimeoutError from None

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException, AttributeError):
            for event in self._events():
                if event.get("type") not in ("ADDED", "MODIFIED"):
                    break
                self._changes.put(event["object"])
        self._changes.put(None)

    def _events(self) -> Iterator[Json]:
        self._connection.request("GET", self._path)
        answer = self._connection.getresponse()
        while line := answer.readline():
            yield json.loads(line)

    def __enter__(self) -> Watch:
        self._connection.connect()
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        opened = self._connection.sock
        if opened is not None:
            with contextlib.suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
        self._reader.join()
        self._connection.close()


def each_version(get: Callable[[], Json], watch: Callable[[str], Watch], recheck: float) -> Generator[Json]:
    """The object as it is and after every change; and, without a change, as it was, every `recheck` seconds: what is
    waited for may be something else. For ever: the caller stops."""
    while True:
        found = get()
        yield found
        with watch(found["metadata"]["resourceVersion"]) as changes:
            while True:
                try:
                    newer = changes.newer(recheck)
                except TimeoutError:
                    yield found
                    continue
                if newer is None:
                    time.sleep(recheck)
                    break
                found = newer
                yield found
