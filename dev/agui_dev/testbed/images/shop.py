"""The smallest application that a release can be made of: starts in a blink, answers what checks ask, can misbehave.

Run as a script with the standard library alone (`python -S -E`): a rollout under test then costs milliseconds of
container start. With arguments it is a job (`upgrade head`, `verify records`) and ends at once.
Environment baked into an image: APP_FAIL_EVERY (each n-th /api answer is a 500), APP_DENY (each is a 401),
APP_BROKEN (agent runs end in errors), APP_EXIT (code to exit with at start), APP_JOB_EXIT (code a job exits with),
APP_LEAK (says SHOP_SECRET in codes, names and its log), APP_JOB_SECONDS (how long a job takes), APP_MORTAL (after
GET /api/die this revision never starts again).
From a release: APP_WITNESS (file that gets the time of each answer to /api/fail).
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import tempfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_calls = itertools.count(1)
_FAIL_EVERY = int(os.environ.get("APP_FAIL_EVERY", "0"))


class Answers(BaseHTTPRequestHandler):
    """One request at a time per connection, connections in threads."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path in ("/readyz", "/health", "/livez"):
            self._json(200, {"ready": True})
        elif path == "/version":
            self._json(200, _version())
        elif path == "/api/die" and "APP_MORTAL" in os.environ:
            open(_grave(), "w").close()
            os._exit(9)
        elif path == "/api/fail" and "APP_WITNESS" in os.environ:
            at = time.time()
            self._json(200, {})
            with open(os.environ["APP_WITNESS"], "a") as witness:
                witness.write(f"{at}\n")
        elif path.startswith("/api/"):
            failed = _FAIL_EVERY and next(_calls) % _FAIL_EVERY == 0
            good = 401 if os.environ.get("APP_DENY") else 200
            self._json(500 if failed else good, {"path": path, "secret": "SHOP_SECRET" in os.environ})
        else:
            self._json(404, {"error": "not found"})

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        asked = json.loads(self.rfile.read(length) or b"{}")
        if self.path.partition("?")[0] != "/agent":
            self._json(404, {"error": "not found"})
            return
        body = "".join(f"data: {json.dumps(event)}\n\n" for event in _run(asked)).encode()
        self._send(200, "text/event-stream", body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Says nothing: no test reads an access log."""

    def _json(self, code: int, value: Any) -> None:
        self._send(code, "application/json", json.dumps(value).encode())

    def _send(self, code: int, content_type: str, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("x-agui-revision", os.environ.get("K_REVISION", ""))
        self.end_headers()
        self.wfile.write(body)


def _grave() -> str:
    """A file that outlives the process: while it exists, the revision does not start."""
    return os.path.join(tempfile.gettempdir(), f"agui-grave-{os.environ.get('K_REVISION', '')}")


def _version() -> dict[str, Any]:
    return {
        "release": os.environ.get("AGUI_RELEASE", ""),
        "version": os.environ.get("AGUI_VERSION", ""),
        "revision": os.environ.get("K_REVISION", ""),
        "schema": {"required": "0001", "database": f"sk-{_secret()}" if _secret() else "0001"},
    }


def _secret() -> str:
    """The secret, in an image that tells it."""
    return os.environ.get("SHOP_SECRET", "") if os.environ.get("APP_LEAK") else ""


def _leak() -> None:
    """A log such as careless programs write: words of use, and secrets in the shapes that they have."""
    secret = _secret()
    for line in (
        f"connecting to postgres://shop:{secret}@db.example/shop",
        f"DB_PASSWORD={secret} was refused",
        f"the colour is {os.environ.get('COLOUR', 'not set')}",
        "column email already exists",
    ):
        print(line, flush=True)


def _run(asked: dict[str, Any]) -> list[dict[str, Any]]:
    """AG-UI events of one run (https://docs.ag-ui.com/concepts/events)."""
    ids = {"threadId": str(asked.get("threadId", "t")), "runId": str(asked.get("runId", "r"))}
    started: dict[str, Any] = {"type": "RUN_STARTED", **ids}
    if _secret():
        rule = {"type": "CUSTOM", "name": "guardrail.block", "value": {"rule": f"house rule, token={_secret()}"}}
        return [started, rule, {"type": "RUN_ERROR", "message": _secret(), "code": f"NO_TOOL password={_secret()}"}]
    if os.environ.get("APP_BROKEN"):
        return [started, {"type": "RUN_ERROR", "message": "no such tool", "code": "TOOL_NOT_FOUND"}]
    text = {"messageId": "m1"}
    return [
        started,
        {"type": "TEXT_MESSAGE_START", "role": "assistant", **text},
        {"type": "TEXT_MESSAGE_CONTENT", "delta": "Order 42 is on its way.", **text},
        {"type": "TEXT_MESSAGE_END", **text},
        {"type": "RUN_FINISHED", **ids},
    ]


def main(arguments: list[str]) -> int:
    if arguments:
        time.sleep(float(os.environ.get("APP_JOB_SECONDS", "0")))
        print(json.dumps({"severity": "INFO", "event": "job", "args": arguments}), flush=True)
        if _secret():
            _leak()
        return int(os.environ.get("APP_JOB_EXIT", "0"))
    if "APP_MORTAL" in os.environ and os.path.exists(_grave()):
        return 9
    if os.environ.get("APP_EXIT"):
        print("cannot read the configuration", flush=True)
        if _secret():
            _leak()
        return int(os.environ["APP_EXIT"])
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Answers)
    server.daemon_threads = True
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
