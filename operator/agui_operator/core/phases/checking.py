"""The checks: at 0 % against the candidate, after promotion against what users get."""

from __future__ import annotations

from dataclasses import replace

from agui_operator.api.conditions import Reason
from agui_operator.core import alerts
from agui_operator.core.actions import Action, JobTemplate
from agui_operator.core.blueprint import BACKEND_ENV, CANDIDATE, PROMOTED, STAGE_ENV
from agui_operator.core.phases.case import Actions, Case, Happened, Logic
from agui_operator.core.phases.preparing import run_job
from agui_operator.core.rollout import Event
from agui_operator.core.verdicts import verdict_on


def _smoked(case: Case) -> Happened | None:
    return _verdict(case, CANDIDATE)


def _smoke(case: Case) -> Actions:
    return _check_jobs(case, CANDIDATE)


def _baked(case: Case) -> Happened | None:
    found = _verdict(case, PROMOTED)
    if found is None:
        return None
    if found[0] is Event.SUCCEEDED:
        return found if _alerts(case) == () or case.alerts_can_wait else None
    return found if case.plan.automatic_rollback else None


def _bake(case: Case) -> Actions:
    return _check_jobs(case, PROMOTED) + (_alerts(case) or ())


def _alerts(case: Case) -> Actions | None:
    return alerts.actions(case.seen, case.names, case.memory.candidate)


def _verdict(case: Case, stage: str) -> Happened | None:
    results = {**case.memory.verdicts, **case.seen.checks}
    wanted = [verdict_on(results, check) for check in case.plan.checks(stage)]
    failed = next((r for r in wanted if r is not None and r.passed is False), None)
    if failed is not None:
        where = "at 0 %" if stage == CANDIDATE else "after promotion"
        return case.fail(Reason.SMOKE_FAILED, f'Check "{failed.name}" failed {where}: {failed.message}')
    passed = all(r is not None and r.passed for r in wanted)
    return (Event.SUCCEEDED, None) if passed else None


def _check_jobs(case: Case, stage: str) -> Actions:
    memory, seen = case.memory, case.seen
    actions: list[Action] = []
    for check in case.plan.checks(stage):
        template = case.plan.check_jobs.get((stage, check.name))
        if template is not None and verdict_on(memory.verdicts, check) is None and check.name in seen.check_jobs:
            actions += run_job(_with_backend(case, template), seen.check_jobs[check.name])
    return tuple(actions)


def _with_backend(case: Case, template: JobTemplate) -> JobTemplate:
    """A job check's template with the URL at which this release's own backend answers now."""
    service, stage = case.seen.service, template.container.env.get(STAGE_ENV)
    if service is None or stage is None:
        return template
    url = service.tag_uris.get(case.names.tag(template.release)) if stage == CANDIDATE else service.uri
    if url is None:
        return template
    env = {**template.container.env, BACKEND_ENV: url}
    return replace(template, container=replace(template.container, env=env))


SMOKING = Logic(_smoked, _smoke)
BAKING = Logic(_baked, _bake)
