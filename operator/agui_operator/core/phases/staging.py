"""The candidate's revision at 0 %, and its page for requests that name it."""

from __future__ import annotations

from dataclasses import replace

from agui_operator.api.conditions import Reason
from agui_operator.core.actions import Action, RevisionStaged
from agui_operator.core.phases.case import Actions, Case, Happened, Logic
from agui_operator.core.phases.routing import candidate_routing
from agui_operator.core.rollout import Event
from agui_operator.core.traffic import Target, foreign_tags, same_split, split


def _staged(case: Case) -> Happened | None:
    service, revision = case.seen.service, case.plan.revision.revision
    if service is None or service.reconciling or service.latest_created != revision:
        return None
    tagged = any(t.revision == revision and t.tag for t in service.traffic)
    if service.latest_ready == revision and tagged:
        return (Event.SUCCEEDED, None) if _is_routed(case) else None
    if service.ready is False:
        return case.fail(
            Reason.REVISION_FAILED, f'Revision "{revision}" did not become ready: {service.why(case.seen.disclosure)}'
        )
    return None


def _is_routed(case: Case) -> bool:
    wanted = candidate_routing(case)
    return wanted is None or (case.seen.pointer_known and case.seen.candidate_pointer == wanted.candidate)


def _stage(case: Case) -> Actions:
    seen, plan = case.seen, case.plan
    if not seen.service_known:
        return ()
    have, stable = seen.service, case.memory.stable
    if stable is not None and case.is_missing(stable) and (remade := case.remade(stable)) is not None:
        return (remade,)  # users come first
    traffic = _traffic(case)
    staged = have is not None and have.template_revision == plan.revision.revision
    actions: list[Action] = []
    if not (staged and have is not None and same_split(traffic, have.traffic)):
        actions.append(RevisionStaged(plan.revision, traffic))
    wanted = candidate_routing(case)
    if wanted is not None and seen.pointer_known and not _is_routed(case):
        actions.append(wanted)  # before the checks, which use the routes that users will use
    return tuple(actions)


def _traffic(case: Case) -> tuple[Target, ...]:
    """The candidate at 0 % beside stable; beside what serves, where no stable release is known or left."""
    have, stable = case.seen.service, case.memory.stable
    candidate = case.target(case.plan.release)
    if have is None or (stable is not None and not case.is_missing(stable)):
        return split(candidate, case.stable_target(), 0, have.traffic if have else ())
    others = [t for t in have.serving if t.percent > 0 and t.revision != candidate.revision]
    if sum(t.percent for t in others) != 100:
        return split(candidate, None, 0, have.traffic)
    return (*others, replace(candidate, percent=0), *foreign_tags(t for t in have.traffic if t.percent == 0))


STAGING = Logic(_staged, _stage)
