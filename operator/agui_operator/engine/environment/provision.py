"""Applies a graph of resources: looks at every node, writes what the plan says, and looks again until nothing is left.

What is known is what was looked at; nothing is kept between two runs, so that a run after a crash is a run like any
other. Kinds are found in the registry and nowhere else.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

from agui_operator.core.errors import CloudError, Fault, backoff, classify
from agui_operator.core.provisioning.graph import Graph, GraphInvalid, Node, observable
from agui_operator.core.provisioning.plan import (
    Have,
    Observed,
    ResourceAction,
    ResourceCreated,
    ResourceDeleted,
    ResourceUpdated,
    State,
    describe,
    is_ours,
    plan,
    plan_deletion,
)
from agui_operator.gcp.kinds.contract import Kind, View, create_once, desired_of
from agui_operator.gcp.kinds.registry import KINDS
from agui_operator.gcp.transport import operations
from agui_operator.gcp.transport.clients import Cloud
from agui_operator.gcp.transport.outcome import Outcome

logger = logging.getLogger(__name__)
_WAIT = 30.0  # seconds per waiting call
_PENDING_PAUSE = 2.0  # until somebody else's operation is looked at again


class Provisioner:
    """Looks at, applies and deletes graphs. `attempts` of a round of writes that end with a transient fault; `timeout`
    in seconds of one run."""

    def __init__(
        self, cloud: Cloud, kinds: Mapping[str, Kind[Any]] = KINDS, *, attempts: int = 5, timeout: float = 1800.0
    ) -> None:
        self._cloud, self._kinds, self._attempts, self._timeout = cloud, kinds, attempts, timeout

    async def look(self, graph: Graph) -> Have:
        """Every node; those that do not depend on each other at the same time. A node that can't be read because of
        what it depends on is left out. Raises CloudError, GraphInvalid."""
        return {name: _observed(found) for name, found in (await self._views(graph)).items()}

    async def apply(self, graph: Graph) -> Have:
        """Makes the graph true, as far as that is possible without touching what is not ours; returns what is there
        then. Raises CloudError, UserError, TimeoutError; what was done before stays done."""
        return await self._run(graph, backwards=False)

    async def delete(self, graph: Graph) -> Have:
        """Deletes what is ours and not retained, dependents first; returns what is left. Raises as `apply`."""
        return await self._run(graph, backwards=True)

    async def _run(self, graph: Graph, *, backwards: bool) -> Have:
        failures = 0
        async with asyncio.timeout(self._timeout):
            while True:
                views = await self._views(graph)
                have = {name: _observed(found) for name, found in views.items()}
                actions: Sequence[ResourceAction] = plan_deletion(graph, have) if backwards else plan(graph, have)
                if not actions:
                    if not any(_is_awaited(graph, seen) for seen in have.values()):
                        return have
                    await asyncio.sleep(_PENDING_PAUSE)
                    continue
                try:
                    await self._write(graph, actions, views)
                    failures = 0
                except CloudError as error:
                    failures += 1
                    if failures >= self._attempts or classify(error) is not Fault.TRANSIENT:
                        raise
                    logger.info("retried automatically: %s", error)
                    await asyncio.sleep(backoff(failures, Fault.TRANSIENT))

    async def _views(self, graph: Graph) -> dict[str, tuple[View, Observed] | None]:
        found: dict[str, tuple[View, Observed] | None] = {}
        looks: dict[str, asyncio.Task[None]] = {}

        async def look(node: Node) -> None:
            await asyncio.gather(*(looks[name] for name in node.dependencies))
            outputs = {name: pair[0].outputs for name, pair in found.items() if pair is not None}
            try:
                found[node.id] = await self._look(graph, observable(node, outputs))
            except CloudError:
                if all(_is_ready(found.get(name)) for name in node.dependencies):
                    raise

        try:
            async with asyncio.TaskGroup() as group:
                for node in graph.nodes:
                    looks[node.id] = group.create_task(look(node))
        except ExceptionGroup as errors:
            raise _first(errors) from None
        return found

    async def _look(self, graph: Graph, node: Node) -> tuple[View, Observed] | None:
        kind, want = self._of(node)
        view = await kind.observe(self._cloud, graph.site, want)
        if view is None:
            return None
        return view, Observed(kind.diff(want, view), view.outputs, view.owner, view.state, view.detail)

    async def _write(
        self, graph: Graph, actions: Sequence[ResourceAction], views: Mapping[str, tuple[View, Observed] | None]
    ) -> None:
        """All actions at the same time, but one after another in each lane. Raises the first fault when all have
        ended."""
        lanes: defaultdict[str, list[ResourceAction]] = defaultdict(list)
        for action in actions:
            kind, want = self._of(action.node)
            lanes[kind.lane(graph.site, want)].append(action)

        async def lane(work: Sequence[ResourceAction]) -> None:
            for action in work:
                found = views.get(action.node.id)
                await self._finish(self._begin(graph, action, found[0] if found else View({})))
                logger.info(describe(action), extra={"action": type(action).__name__})

        results = await asyncio.gather(*(lane(work) for work in lanes.values()), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _begin(self, graph: Graph, action: ResourceAction, view: View) -> Outcome:
        kind, want = self._of(action.node)
        match action:
            case ResourceCreated():
                return await create_once(kind, self._cloud, graph.site, want)
            case ResourceUpdated():
                return await kind.update(self._cloud, graph.site, want, view)
            case ResourceDeleted():
                return await kind.delete(self._cloud, graph.site, want)

    async def _finish(self, work: Awaitable[Outcome]) -> None:
        outcome = await work
        if outcome.operation is None:
            return
        while not (result := await operations.wait(self._cloud, outcome.operation, _WAIT)).done:
            pass
        if result.error is not None:
            raise result.error

    def _of(self, node: Node) -> tuple[Kind[Any], Any]:
        kind = self._kinds.get(node.kind)
        if kind is None:
            raise GraphInvalid(f"node {node.id} is of kind {node.kind}, which is not in the registry")
        return kind, desired_of(kind, node.id, node.desired)


def _observed(found: tuple[View, Observed] | None) -> Observed | None:
    return None if found is None else found[1]


def _is_ready(found: tuple[View, Observed] | None) -> bool:
    return found is not None and found[1].state is State.READY


def _is_awaited(graph: Graph, seen: Observed | None) -> bool:
    return seen is not None and seen.state is State.PENDING and is_ours(graph, seen)


def _first(errors: BaseExceptionGroup[Exception]) -> Exception:
    """The first fault of a group; the others have the same cause or come again."""
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
