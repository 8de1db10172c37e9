"""Whatever is sent in place of a run's input or of a frame: an answer that ends, no 5xx, and the instance lives."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import quote

import httpx
import pytest
import websockets
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.no_cover  # other tests reach the lines; a measured run takes twice as long

SETTINGS = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
words = st.one_of(st.text(max_size=40), st.sampled_from(["", "\x00", "..", "%00", "a/b", "a" * 200, "-1", "42", "🙂"]))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), words),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(words, inner, max_size=3)),
    max_leaves=6,
)
messages = st.lists(
    st.fixed_dictionaries(
        {"id": words, "role": st.sampled_from(["user", "assistant", "tool", "system", "king"]), "content": values}
    )
    | values,
    max_size=3,
)
run_inputs = st.fixed_dictionaries(
    {"threadId": words, "runId": words},
    optional={
        "messages": messages,
        "state": values,
        "tools": values,
        "context": values,
        "forwardedProps": values,
        "resume": st.lists(values | st.fixed_dictionaries({"interruptId": words, "status": words}), max_size=2),
        "method": st.sampled_from(["info", "agent/run", "agent/connect", "agent/stop", "x"]),
        "params": st.fixed_dictionaries({}, optional={"agentId": words, "threadId": words}) | values,
        "body": values,
    },
)


def send(app, method: str, path: str, body) -> httpx.Response:
    content = None if body is None else json.dumps(body, ensure_ascii=True).encode()
    return app.ask(method, path, content=content)


@SETTINGS
@given(
    body=run_inputs,
    route=st.sampled_from(["/agent", "/copilotkit/agent/default/run", "/copilotkit/agent/default/connect"]),
)
def test_no_run_input_makes_a_5xx_or_an_endless_stream(app_instances, body, route):
    response = send(app_instances[0], "POST", route, body)
    assert response.status_code < 500, response.text
    if response.status_code == 200 and route != "/copilotkit/agent/default/connect":
        last = json.loads(response.text.strip().splitlines()[-1][6:])
        assert last["type"] in ("RUN_FINISHED", "RUN_ERROR")


@SETTINGS
@given(
    thread=words.filter(bool),
    frame=st.one_of(
        values.map(json.dumps),
        run_inputs.map(lambda body: json.dumps({"type": "run"} | body)),
        st.binary(max_size=50),
        st.text(st.characters(codec="utf-8"), max_size=50),
    ),
)
def test_no_frame_ends_a_socket(app_instances, thread, frame):
    async def talk() -> None:
        url = f"{app_instances[0].ws_url}/ws/{quote(thread, safe='')}"
        try:
            async with websockets.connect(url) as socket:
                first = json.loads(await asyncio.wait_for(socket.recv(), 10))
                if first["type"] == "error":
                    return
                await socket.send(frame)
                await socket.send('{"type": "?"}')
                while True:  # the refusal of the second frame shows that the first one ended nothing
                    answer = json.loads(await asyncio.wait_for(socket.recv(), 30))
                    if answer["type"] == "error" and "unknown frame type '?'" in answer["message"]:
                        return
        except websockets.InvalidStatus as refused:
            if refused.response.status_code >= 500:
                raise

    asyncio.run(talk())


def test_nothing_of_this_was_an_error_of_ours(app_instances):
    assert app_instances[0].get("/readyz").status_code == 200
    errors = [line for line in app_instances[0].log() if line["severity"] == "ERROR"]
    ours = [line for line in errors if line["logger"].startswith("agui_app")]
    assert ours == []
