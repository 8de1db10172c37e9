"""Progress of pipelines as AG-UI state, so that a person sees what a long tool call is doing, live and after a reload.

`state.pipelines` maps the id of the tool call to what it has done: `{name, subject, status, steps: [{name, status,
started, finished, detail}]}`. Each change is an event of the session: it is stored before the step goes on, reaches
clients as STATE_DELTA, and the replay of the events gives the state, as for everything else in it. Only pipelines
write this key: what a client sends under it is dropped. State reference: https://docs.ag-ui.com/concepts/state
"""

from __future__ import annotations

import copy
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from google.adk.agents.context import Context
from google.adk.events import Event, EventActions
from google.adk.workflow import FunctionNode

from agui_app.agents.run_context import current_run
from agui_app.agents.stream_shape import PIPELINES

MOST_KEPT = 5  # older ones are in the database; state travels with every run
Work = Callable[[Any], Awaitable[dict[str, Any]]]


def settled(pipelines: Any) -> Any:
    """The pipelines of a thread in which nothing runs: what was under way when its run ended was stopped."""
    if not isinstance(pipelines, Mapping):
        return pipelines
    return {call: _stopped(pipeline) for call, pipeline in pipelines.items()}


def _stopped(pipeline: Any) -> Any:
    if not isinstance(pipeline, Mapping) or pipeline.get("status") != "running":
        return pipeline
    steps = [
        {**step, "status": "stopped"} if step.get("status") == "running" else step for step in pipeline.get("steps", [])
    ]
    return {**pipeline, "status": "stopped", "steps": steps}


class Progress:
    """The steps of one kind of pipeline, in the order in which people read them.

    `failed` is awaited when a step fails or the run is stopped: it closes the pipeline's record. Concurrent steps
    write one map, which the run holds; each event carries a copy of all of it.
    """

    def __init__(self, name: str, steps: Sequence[str], failed: Callable[[], Awaitable[None]]) -> None:
        self._name = name
        self._steps = tuple(steps)
        self._failed = failed

    def step(
        self,
        name: str,
        work: Work,
        detail: Callable[[dict[str, Any]], str] = lambda _: "",
        subject: Callable[[dict[str, Any]], str] | None = None,
    ) -> FunctionNode:
        """A workflow node that does `work` and tells that it does.

        `detail` puts the result in a few words; `subject` marks the first step, whose result says what it is about.
        """
        last = name == self._steps[-1]

        async def node(ctx: Context, node_input: Any) -> AsyncGenerator[Event, None]:
            call = _call_of(ctx)
            if subject is not None:
                self._open(ctx, call)
            pipeline = current_run().pipelines[call]
            shown = next(step for step in pipeline["steps"] if step["name"] == name)
            shown |= {"status": "running", "started": _now()}
            yield _told()
            try:
                result = await work(node_input)
            except BaseException as exc:
                shown |= {"status": "failed", "finished": _now()}
                pipeline |= {"status": "failed"}
                with suppress(Exception):  # the failure itself is what must be heard
                    await self._failed()
                if isinstance(exc, Exception):
                    yield _told()
                raise
            shown |= {"status": "done", "finished": _now(), "detail": detail(result)}
            if subject is not None:
                pipeline |= {"subject": subject(result)}
            if last:
                pipeline |= {"status": "done"}
            yield Event(output=result, actions=EventActions(state_delta=_delta()))

        return FunctionNode(func=node, name=name)

    def _open(self, ctx: Context, call: str) -> None:
        run = current_run()
        if not run.pipelines:
            run.pipelines = copy.deepcopy(settled(ctx.state.get(PIPELINES) or {}))
        steps = [{"name": step, "status": "waiting"} for step in self._steps]
        run.pipelines[call] = {"name": self._name, "status": "running", "steps": steps}
        for old in list(run.pipelines)[:-MOST_KEPT]:
            del run.pipelines[old]


def _call_of(ctx: Context) -> str:
    """The id of the tool call that this workflow answers: ADK names the workflow's run by it."""
    return str(ctx.parent_ctx.run_id if ctx.parent_ctx is not None else ctx.run_id)


def _delta() -> dict[str, Any]:
    return {PIPELINES: copy.deepcopy(current_run().pipelines)}


def _told() -> Event:
    return Event(actions=EventActions(state_delta=_delta()))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
