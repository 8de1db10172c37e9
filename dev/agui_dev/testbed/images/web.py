"""The container of the data plane's tests: a small web application that shows what reached it and can misbehave.

Run as a script; PORT and K_REVISION come from the runtime. START_DELAY, EXIT_AT_START and IGNORE_TERM (environment)
make it slow, broken or stubborn.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time

from aiohttp import WSMsgType, web

SICK = {"now": False}


async def whoami(request: web.Request) -> web.Response:
    return web.json_response(
        {
            "revision": os.environ["K_REVISION"],
            "service": os.environ["K_SERVICE"],
            "pid": os.getpid(),
            "path": request.raw_path,
            "host": request.host,
            "headers": {name.lower(): value for name, value in request.headers.items()},
        }
    )


async def environment(_: web.Request) -> web.Response:
    return web.json_response(dict(os.environ))


async def echo(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
    await response.prepare(request)
    async for chunk in request.content.iter_any():
        await response.write(chunk)
    return response


async def events(request: web.Request) -> web.StreamResponse:
    count, pause = int(request.query.get("count", "3")), float(request.query.get("pause", "0.1"))
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    try:
        for number in range(count):
            await response.write(f"data: {number}\n\n".encode())
            await asyncio.sleep(pause)
    except (ConnectionError, asyncio.CancelledError):
        print(json.dumps({"severity": "INFO", "event": "client left"}), flush=True)
        raise
    return response


async def socket(request: web.Request) -> web.WebSocketResponse:
    ws = web.WebSocketResponse(protocols=("agui",))
    await ws.prepare(request)
    await ws.send_str(os.environ["K_REVISION"])
    async for message in ws:
        if message.type is WSMsgType.BINARY:
            await ws.send_bytes(message.data)
        elif message.data == "bye":
            await ws.close(code=4001, message=b"as asked")
        else:
            await ws.send_str(message.data)
    return ws


async def status(request: web.Request) -> web.Response:
    response = web.Response(status=int(request.match_info["code"]), text="from the app")
    response.headers.add("Set-Cookie", "a=1")
    response.headers.add("Set-Cookie", "b=2")
    return response


async def pause(request: web.Request) -> web.Response:
    await asyncio.sleep(float(request.match_info["seconds"]))
    return web.Response(text=os.environ["K_REVISION"])


async def crash(_: web.Request) -> web.Response:
    os._exit(3)


async def cut(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"half of it")
    os._exit(4)


async def fall_sick(_: web.Request) -> web.Response:
    SICK["now"] = True
    return web.Response(text="ok")


async def healthz(_: web.Request) -> web.Response:
    return web.Response(status=500 if SICK["now"] else 200, text="health")


def application() -> web.Application:
    app = web.Application()
    app.add_routes(
        [
            web.get("/env", environment),
            web.post("/echo", echo),
            web.get("/events", events),
            web.get("/ws", socket),
            web.get("/status/{code}", status),
            web.get("/sleep/{seconds}", pause),
            web.get("/crash", crash),
            web.get("/cut", cut),
            web.post("/sick", fall_sick),
            web.get("/healthz", healthz),
            web.route("*", "/{tail:.*}", whoami),
        ]
    )
    return app


def main() -> None:
    if "EXIT_AT_START" in os.environ:
        print("cannot read the configuration: missing TOPIC", flush=True)
        sys.exit(int(os.environ["EXIT_AT_START"]))
    time.sleep(float(os.environ.get("START_DELAY", "0")))
    print(json.dumps({"severity": "INFO", "event": "listening"}), flush=True)
    if "IGNORE_TERM" in os.environ:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    web.run_app(
        application(),
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        print=lambda *_: None,
        handle_signals="IGNORE_TERM" not in os.environ,
        handler_cancellation=True,
    )


if __name__ == "__main__":
    main()
