"""Server-sent events as bytes arrive, by https://html.spec.whatwg.org/multipage/server-sent-events.html section 9.2.6.

Own code because the client that reads them has to be the guarded one. Any bytes are legal input: what is not UTF-8
becomes U+FFFD, an unknown field is ignored. The reader is bounded by its caller, who limits the bytes of a stream.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One dispatched event."""

    data: str
    event: str = "message"
    id: str = ""


class EventReader:
    """Feed it chunks, cut anywhere; it gives the events that are complete. An event without its closing blank line when
    the stream ends is dropped, as the specification says."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._scanned = 0  # bytes of `_rest` known to hold no line end, so that one long line is scanned once
        self._first_line = True
        self._data: list[str] = []
        self._event = ""
        self._id = ""

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        self._rest += chunk
        done: list[ServerSentEvent] = []
        start = 0
        while (end := self._line_end(start)) is not None:
            at, width = end
            line = bytes(self._rest[start:at])
            start = self._scanned = at + width
            if (event := self._take(line)) is not None:
                done.append(event)
        del self._rest[:start]
        self._scanned -= start
        return done

    def _line_end(self, start: int) -> tuple[int, int] | None:
        """Where the next line ends and how wide its end is; None if that is not known yet."""
        feed = self._rest.find(b"\n", max(start, self._scanned))
        carriage = self._rest.find(b"\r", max(start, self._scanned), feed if feed >= 0 else len(self._rest))
        if carriage >= 0:
            if carriage + 1 == len(self._rest):  # the "\n" of a "\r\n" may be in the next chunk
                self._scanned = carriage
                return None
            return carriage, 2 if self._rest[carriage + 1] == 0x0A else 1
        if feed >= 0:
            return feed, 1
        self._scanned = len(self._rest)
        return None

    def _take(self, raw: bytes) -> ServerSentEvent | None:
        line = raw.decode("utf-8", errors="replace")
        if self._first_line:
            line, self._first_line = line.removeprefix("\ufeff"), False
        if not line:
            return self._dispatch()
        if line.startswith(":"):
            return None
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "data":
                self._data.append(value)
            case "event":
                self._event = value
            case "id" if "\0" not in value:
                self._id = value
        return None

    def _dispatch(self) -> ServerSentEvent | None:
        data, event = self._data, self._event
        self._data, self._event = [], ""
        if not data:
            return None
        return ServerSentEvent("\n".join(data), event or "message", self._id)
