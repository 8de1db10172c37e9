"""Why a rollout may not start, may not continue or must be rolled back: by policy, environment and spec."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from agui_operator.api.conditions import ConditionType, Reason
from agui_operator.api.deployment import AgUiDeploymentSpec
from agui_operator.api.environment import AgUiEnvironmentSpec
from agui_operator.api.policy import AgUiPolicySpec
from agui_operator.core.environment import Edge, Place
from agui_operator.core.permitted import Unreadable, frozen, matches, refusals
from agui_operator.core.release import Release
from agui_operator.core.snapshot import Blocker, ServiceView
from agui_operator.core.uses import Uses, databases_of, of_release, of_spec


def blockers(
    spec: AgUiDeploymentSpec,
    environment: AgUiEnvironmentSpec | None,
    environment_error: str | None,
    namespace: str,
    policies: Sequence[AgUiPolicySpec],
    now: datetime,
    place: Place | None = None,
    unreadable: Sequence[Unreadable] = (),
) -> tuple[Blocker, ...]:
    """Everything that stands in the way, most fundamental first. `place`: where the release is, if it is not where
    the environment says; it is what a policy has to permit, also while there is no environment."""
    found: list[Blocker] = []
    if environment is None:
        message = environment_error or f"AgUiEnvironment {namespace}/{spec.environment_ref.name} does not exist"
        fix = "create the environment or correct spec.environmentRef.name"
        found.append(
            Blocker(ConditionType.ENVIRONMENT_READY, Reason.ENVIRONMENT_NOT_READY, message, fix, may_arrive=True)
        )
    place = place or (place_of(environment) if environment is not None else None)
    own = [broken for broken in unreadable if matches(namespace, broken.namespaces)]
    if place is not None:
        uses = of_spec(spec, place, databases_of(environment))
        found += _refused(uses, namespace, policies, undecided=bool(own))
    if environment is not None:
        found += _missing(spec, environment)
    freeze = frozen(policies, namespace, now, own)
    if freeze is not None:
        text, until = freeze.message, freeze.until
        stamp = until.strftime("%Y-%m-%dT%H:%M:%SZ") if until else None
        fix = "wait for its end or change the AgUiPolicy"
        found.append(Blocker(ConditionType.SPEC_ACCEPTED, Reason.FROZEN, text, fix, until=stamp, holds_running=True))
    if spec.suspend:
        fix = "set spec.suspend to false"
        found.append(
            Blocker(ConditionType.SPEC_ACCEPTED, Reason.SUSPENDED, "spec.suspend is true", fix, holds_running=True)
        )
    return tuple(found)


def _refused(uses: Uses, namespace: str, policies: Sequence[AgUiPolicySpec], *, undecided: bool) -> list[Blocker]:
    """`undecided`: a policy that speaks for the namespace can't be read; what runs is held, not taken back."""
    findings = refusals(uses, namespace, policies)
    if not findings:
        return []
    text = "; ".join(str(f) for f in findings)
    fix = "ask an administrator to extend the AgUiPolicy, or change the named field"
    unnamed = not any(matches(namespace, policy.namespaces) for policy in policies)
    return [
        Blocker(
            ConditionType.SPEC_ACCEPTED,
            Reason.NOT_PERMITTED,
            text,
            fix,
            revokes=not undecided,
            holds_running=undecided,
            may_arrive=unnamed,
        )
    ]


def breakglass(attested_by: str, service: ServiceView | None) -> Blocker | None:
    """What refuses a service whose images are not checked although a policy demands it: somebody broke the glass."""
    if not attested_by or service is None or not service.breakglass:
        return None
    what = f"Cloud Run service {service.name} has a breakglass justification"
    text = f"{what}, and an AgUiPolicy demands Binary Authorization"
    fix = f"remove it: gcloud run services update {service.name} --binary-authorization=default"
    return Blocker(ConditionType.SPEC_ACCEPTED, Reason.NOT_PERMITTED, text, fix, holds_running=True)


def forbidden(
    releases: Iterable[Release], place: Place | None, namespace: str, policies: Sequence[AgUiPolicySpec]
) -> dict[str, str]:
    """Of these releases the ones that no policy permits now, by id, and why."""
    if place is None:
        return {}
    found = {release.id: refusals(of_release(release, place), namespace, policies) for release in releases}
    return {id_: "; ".join(str(f) for f in findings) for id_, findings in found.items() if findings}


def _missing(spec: AgUiDeploymentSpec, environment: AgUiEnvironmentSpec) -> list[Blocker]:
    """Parts of the environment that this spec needs and that are not named there."""
    lacks: list[str] = []
    if spec.migrations is not None and environment.database is None:
        lacks.append("spec.migrations needs database in the environment")
    if spec.frontend is not None and (environment.storage is None or environment.edge is None):
        lacks.append("spec.frontend needs storage and edge in the environment")
    known = {c.name for c in environment.observability.channels} if environment.observability else set()
    asked = spec.alerts.channels if spec.alerts else ()
    lacks += [
        f"spec.alerts.channels names {name!r}, which the environment does not have"
        for name in asked
        if name not in known
    ]
    if not lacks:
        return []
    fix = "add the part to the AgUiEnvironment or remove it from the spec"
    text = "; ".join(lacks)
    return [Blocker(ConditionType.ENVIRONMENT_READY, Reason.ENVIRONMENT_INCOMPLETE, text, fix, may_arrive=True)]


def with_grace(
    found: Sequence[Blocker], since: datetime | None, now: datetime, grace: timedelta
) -> tuple[Blocker, ...]:
    """A permission that is withdrawn from a running rollout acts after a grace, in which the rollout is held: a policy
    that is deleted and applied again is gone for a moment. `since`: when the withdrawal was first seen; None: there is
    no rollout that was permitted, so it acts at once."""
    if since is None or now >= since + grace:
        return tuple(found)
    until = (since + grace).strftime("%Y-%m-%dT%H:%M:%SZ")
    text = f"the rollout is held, and rolled back at {until} unless it is permitted again"
    return tuple(
        replace(b, revokes=False, holds_running=True, until=until, message=f"{b.message}; {text}") if b.revokes else b
        for b in found
    )


def place_of(environment: AgUiEnvironmentSpec) -> Place:
    """The environment, reduced to what the kinds need."""
    edge, observability = environment.edge, environment.observability
    return Place(
        project=environment.project_id,
        region=environment.region,
        assets_bucket=environment.storage.assets.bucket if environment.storage else "",
        artifacts_bucket=environment.storage.artifacts.bucket if environment.storage else "",
        sql_instance=environment.database.instance if environment.database else None,
        edge=Edge(edge.domain, edge.url_map, edge.backend_bucket, edge.backend_service, tuple(edge.api_paths))
        if edge
        else None,
        channels={c.name: c.resource for c in observability.channels} if observability else {},
    )
