"""What people, outages and time do to the world of `world_model`, beside what the operator does.

An event changes the world or one look at it; `None` means that it is not possible here. `PROMISES` of
tests/properties/test_world_events.py hold after each of them, singly and in pairs, in every world.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from agui_operator.core.actions import CHANGED_BY_HAND, Pointer
from agui_operator.core.memory import Memory, from_status, to_status
from agui_operator.core.past import Promotion
from agui_operator.core.rollout import Phase
from agui_operator.core.templates import to_json
from agui_operator.core.traffic import Target, share
from world_model import NAMES, NOW, Cloud, World, revision_of, start_second

WorldEvent = Callable[[World], World | None]


def _with_cloud(world: World, **changes: object) -> World:
    return replace(world, cloud=replace(world.cloud, **changes))  # type: ignore[arg-type]


def _moved(world: World, traffic: tuple[Target, ...]) -> World:
    return replace(_with_cloud(world, traffic=traffic, serving=traffic), by_hand=True)


def service_deleted(world: World) -> World | None:
    """`gcloud run services delete`: its revisions go with it."""
    if not world.cloud.traffic:
        return None
    return _with_cloud(world, traffic=(), serving=(), template="", revisions=frozenset())


def revision_deleted(world: World) -> World | None:
    """Every revision without traffic and tag is deleted by hand: Cloud Run refuses others."""
    reached = {t.revision for t in (*world.cloud.traffic, *world.cloud.serving)}
    kept = world.cloud.revisions & reached
    return None if kept == world.cloud.revisions else _with_cloud(world, revisions=kept)


def idle_revision_deleted(world: World) -> World | None:
    """Every revision that serves no user is deleted by hand, with its tag."""
    serving = tuple(t for t in world.cloud.serving if t.percent > 0)
    kept = world.cloud.revisions & {t.revision for t in serving}
    if kept == world.cloud.revisions:
        return None
    return _with_cloud(world, revisions=kept, traffic=serving, serving=serving)


def traffic_to_newest(world: World) -> World | None:
    """`gcloud run services update-traffic --to-latest`: a person takes the responsibility."""
    cloud = world.cloud
    if not cloud.traffic or cloud.template not in cloud.revisions or share(cloud.serving, cloud.template) == 100:
        return None
    return _moved(world, (Target(cloud.template, 100),))


def traffic_halved(world: World) -> World | None:
    """Half of the traffic to another revision that exists."""
    cloud = world.cloud
    first = next((t.revision for t in cloud.serving if t.percent > 0), None)
    other = next((r for r in sorted(cloud.revisions) if r != first), None)
    if first is None or other is None:
        return None
    return _moved(world, (Target(first, 50), Target(other, 50)))


def pointer_removed(world: World) -> World | None:
    return None if world.cloud.pointer is None else _with_cloud(world, pointer=None, candidate_pointer=None)


def pointer_changed(world: World) -> World | None:
    if world.cloud.pointer is None:
        return None
    changed = Pointer(
        CHANGED_BY_HAND,
        "",
    )
    return replace(_with_cloud(world, pointer=changed), by_hand=True)


def page_files_deleted(world: World) -> World | None:
    """`gcloud storage rm` of files of every page."""
    return _with_cloud(world, published=frozenset()) if world.cloud.published else None


def jobs_deleted(world: World) -> World | None:
    if not world.cloud.jobs:
        return None
    return _with_cloud(world, jobs=frozenset(), running=frozenset())


def status_wiped(world: World) -> World | None:
    """`kubectl replace --subresource=status` with {}."""
    return None if world.memory == Memory() else replace(world, memory=Memory())


def status_restored(world: World) -> World | None:
    """The status of a backup: the first release was Healthy."""
    old = start_second().memory
    return None if world.memory == old or "fa" not in world.cloud.published else replace(world, memory=old)


def status_of_another_version(world: World) -> World | None:
    """Another version wrote a phase that this one does not know."""
    if world.memory.phase is Phase.PENDING:
        return None
    status = to_status(world.memory)
    status["phase"] = status["rollout"]["phase"] = "Rehearsing"
    return replace(world, memory=from_status(status))


def undone_to_an_earlier_attempt(world: World) -> World | None:
    """`agui.dev/undo=<id>` of an earlier attempt of the spec that is asked for still: both have its fingerprint."""
    memory, cloud, stable = world.memory, world.cloud, world.memory.stable
    if memory.phase is not Phase.HEALTHY or stable is None or stable.fingerprint != world.fingerprint:
        return None
    name = f"{stable.id.partition('-')[0]}-9"
    earlier = replace(stable, id=name, template=to_json(revision_of(name, stable.image)))
    undoing = replace(
        memory,
        phase=Phase.UNDOING,
        candidate=stable,
        undo_to=earlier,
        promoted=(*memory.promoted, Promotion(earlier, NOW)),
        rejected=None,
    )
    revision = NAMES.revision(name)
    cloud = replace(
        cloud, revisions=cloud.revisions | {revision}, migrated=cloud.migrated | {NAMES.migration_job(name)}
    )
    return replace(world, memory=undoing, cloud=cloud, verified=world.verified | {revision})


EVENTS: Mapping[str, WorldEvent] = {
    event.__name__: event
    for event in (
        service_deleted,
        revision_deleted,
        idle_revision_deleted,
        traffic_to_newest,
        traffic_halved,
        pointer_removed,
        pointer_changed,
        page_files_deleted,
        jobs_deleted,
        status_wiped,
        status_restored,
        status_of_another_version,
        undone_to_an_earlier_attempt,
    )
}


def is_served(world: World) -> bool:
    """True if every user gets a complete page and a verified revision that exists."""
    cloud = world.cloud
    if cloud.pointer is None or cloud.pointer.frontend not in cloud.published:
        return False
    public = {t.revision for t in cloud.serving if t.percent > 0}
    return bool(public) and public <= world.verified and public <= cloud.revisions


def served_by(cloud: Cloud, release: str) -> bool:
    return share(cloud.serving, NAMES.revision(release)) == 100 and NAMES.revision(release) in cloud.revisions
