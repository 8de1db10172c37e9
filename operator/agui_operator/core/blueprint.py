"""What a release should look like in the cloud, computed from the spec before anything is touched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from agui_operator.api.deployment import AgUiDeploymentSpec, CanaryStep, SmokeCheck
from agui_operator.api.strategy import Inconclusive
from agui_operator.core.actions import (
    Bundle,
    ContainerTemplate,
    HttpProbe,
    JobTemplate,
    Pointer,
    RevisionTemplate,
    SecretEnv,
)
from agui_operator.core.analysis import DEFAULT_LIMITS, Limit
from agui_operator.core.environment import Place
from agui_operator.core.fingerprint import canonical_cpu, canonical_memory
from agui_operator.core.names import Names
from agui_operator.core.release import Release, bundle_of
from agui_operator.core.templates import to_json
from agui_operator.core.verdicts import check_digest

CANDIDATE, PROMOTED = "candidate", "promoted"
_WINDOW = 3600.0  # seconds
STAGE_ENV, BACKEND_ENV = "AGUI_STAGE", "AGUI_BACKEND_URL"  # of job checks


@dataclass(frozen=True, slots=True)
class Analysis:
    """How the canary is judged; seconds."""

    min_samples: int
    interval: float
    deadline: float
    inconclusive: Inconclusive
    limits: tuple[Limit, ...]
    synthetic_per_minute: int | None = None
    background: bool = True  # judged in every step of the canary, not only in its analysis steps

    @property
    def window(self) -> float:
        """The longest window: what is older says little about a canary that is held for days."""
        return max(self.deadline, _WINDOW)


@dataclass(frozen=True, slots=True)
class Blueprint:
    """Everything that `actions_for` may need of one release."""

    release: Release
    revision: RevisionTemplate
    migration: JobTemplate | None
    backup_instance: str | None
    bundle: Bundle | None
    assets_bucket: str
    runtime_url: str | None
    pointer: Pointer | None
    steps: tuple[CanaryStep, ...]
    analysis: Analysis | None
    smoke: tuple[SmokeCheck, ...]
    check_jobs: Mapping[tuple[str, str], JobTemplate] = field(default_factory=dict)  # by (stage, check)
    automatic_rollback: bool = True
    progress_deadline: timedelta = timedelta(minutes=30)
    suspended: bool = False

    def checks(self, stage: str) -> tuple[SmokeCheck, ...]:
        """The checks that run at a stage: `candidate` (0 %) or `promoted`."""
        return tuple(c for c in self.smoke if stage in c.at)


def build_blueprint(spec: AgUiDeploymentSpec, names: Names, place: Place, release: Release) -> Blueprint:
    """The blueprint of one release of this spec."""
    canary = spec.strategy.canary if spec.strategy else None
    revision = _revision(spec, names, place, release)
    release = replace(release, template=to_json(revision), bundle=bundle_of(spec))
    return Blueprint(
        release=release,
        revision=replace(revision, record=release.record),
        migration=_migration(spec, names, place, release),
        backup_instance=_backup_instance(spec, place),
        bundle=Bundle(place.artifacts_bucket, spec.frontend.bundle.object, spec.frontend.bundle.sha256)
        if spec.frontend
        else None,
        assets_bucket=place.assets_bucket,
        runtime_url=runtime_url(place) if spec.frontend else None,
        pointer=Pointer(release.frontend, release.id) if place.edge else None,
        steps=tuple(canary.steps) if canary else (),
        analysis=_analysis(canary.analysis) if canary and canary.analysis else None,
        smoke=tuple(spec.smoke),
        check_jobs=_check_jobs(spec, names, place, release),
        automatic_rollback=spec.rollback.automatic,
        progress_deadline=spec.strategy.progress_deadline,
        suspended=spec.suspend,
    )


def runtime_url(place: Place) -> str | None:
    """The path under which the page finds its backend: the first API path of the edge."""
    return place.edge.api_paths[0] if place.edge and place.edge.api_paths else None


def _backup_instance(spec: AgUiDeploymentSpec, place: Place) -> str | None:
    if spec.migrations is None or spec.migrations.backup == "Never":
        return None
    return place.sql_instance


def _analysis(raw: Any) -> Analysis:
    limits = tuple(Limit(m.name, m.max, m.max_above_stable, m.max_ratio_to_stable) for m in raw.metrics)
    if raw.default_limits:
        limits += tuple(limit for limit in DEFAULT_LIMITS if limit.name not in {own.name for own in limits})
    return Analysis(
        min_samples=raw.min_samples,
        interval=raw.interval.total_seconds(),
        deadline=raw.deadline.total_seconds(),
        inconclusive=raw.inconclusive,
        limits=limits,
        synthetic_per_minute=raw.synthetic_conversations.per_minute if raw.synthetic_conversations else None,
        background=raw.background,
    )


def _container(
    spec: AgUiDeploymentSpec,
    place: Place,
    release: Release,
    image: str,
    account: str | None = None,
    *,
    trusted: bool = True,
    **overrides: Any,
) -> ContainerTemplate:
    """`account` None: the serving identity. `trusted`: it gets the application's secrets and its database."""
    backend = spec.backend
    account = account or backend.service_account
    env = {e.name: e.value for e in backend.env}
    env |= {"AGUI_RELEASE": release.id, "AGUI_VERSION": release.version}
    instances = (f"{place.project}:{place.region}:{place.sql_instance}",) if place.sql_instance and trusted else ()
    return ContainerTemplate(
        image=image,
        service_account=account if "@" in account else f"{account}@{place.project}.iam.gserviceaccount.com",
        env=env | overrides.pop("env", {}),
        secrets=tuple(SecretEnv(s.env, s.secret, release.secrets[s.env]) for s in backend.secrets if trusted),
        cpu=canonical_cpu(backend.resources.cpu),
        memory=canonical_memory(backend.resources.memory),
        sql_instances=instances,
        **overrides,
    )


def _revision(spec: AgUiDeploymentSpec, names: Names, place: Place, release: Release) -> RevisionTemplate:
    backend = spec.backend
    container = _container(
        spec,
        place,
        release,
        release.image,
        command=tuple(backend.command),
        args=tuple(backend.args),
        timeout=backend.timeout_seconds,
    )
    return RevisionTemplate(
        revision=names.revision(release.id),
        release=release.id,
        container=container,
        port=backend.port,
        cpu_always_allocated=backend.resources.cpu_always_allocated,
        startup_boost=backend.resources.startup_boost,
        min_instances=backend.scaling.min_instances,
        max_instances=backend.scaling.max_instances,
        concurrency=backend.scaling.concurrency,
        session_affinity=backend.session_affinity,
        startup=_probe(backend.probes.startup),
        liveness=_probe(backend.probes.liveness),
        ingress=str(backend.ingress),
    )


def _probe(raw: Any) -> HttpProbe | None:
    if raw is None:
        return None
    return HttpProbe(raw.path, raw.period_seconds, raw.timeout_seconds, raw.failure_threshold)


def _migration(spec: AgUiDeploymentSpec, names: Names, place: Place, release: Release) -> JobTemplate | None:
    migrations = spec.migrations
    if migrations is None or release.migration_image is None:
        return None
    args = list(migrations.args) if migrations.args else ["upgrade", migrations.target]
    if not migrations.args:
        args += ["--seeds"] if migrations.seeds else []
        args += ["--verify", ",".join(migrations.verify)] if migrations.verify else []
    limits = {
        "AGUI_LOCK_TIMEOUT_SECONDS": str(migrations.lock_timeout_seconds),
        "AGUI_STATEMENT_TIMEOUT_SECONDS": str(migrations.statement_timeout_seconds),
    }
    container = _container(
        spec,
        place,
        release,
        release.migration_image,
        migrations.service_account,
        command=tuple(migrations.command),
        args=tuple(args),
        env=limits,
        timeout=3600,
    )
    return JobTemplate(names.migration_job(release.id), release.id, container)


def _check_jobs(
    spec: AgUiDeploymentSpec, names: Names, place: Place, release: Release
) -> dict[tuple[str, str], JobTemplate]:
    """Jobs of the `sql` and `job` checks. A sql check runs the migration image's verify script of that name."""
    jobs: dict[tuple[str, str], JobTemplate] = {}
    for check in spec.smoke:
        if check.sql is not None and spec.migrations is not None:
            image = release.migration_image or release.image
            container = _container(
                spec,
                place,
                release,
                image,
                spec.migrations.service_account,
                command=tuple(spec.migrations.command),
                args=("verify", check.sql.check),
                timeout=int(max(check.timeout.total_seconds(), 60)),
            )
        elif check.job is not None:
            container = _container(
                spec,
                place,
                release,
                check.job.image,
                check.job.service_account,
                trusted=False,
                command=tuple(check.job.command),
                args=tuple(check.job.args),
                timeout=int(check.job.timeout.total_seconds()),
            )
        else:
            continue
        for stage in check.at:
            job = names.check_job(release.id, f"{stage}/{check.name}/{check_digest(check)}")
            told = _whereabouts(place, release, str(stage)) if check.job is not None else {}
            box = replace(container, env={**container.env, **told})
            jobs[str(stage), check.name] = JobTemplate(job, release.id, box)
    return jobs


def _whereabouts(place: Place, release: Release, stage: str) -> dict[str, str]:
    """What a job check is told about what it checks; the backend's own URL joins it once Cloud Run has said it."""
    told = {STAGE_ENV: stage}
    told |= {"AGUI_ORIGIN": place.edge.origin} if place.edge else {}
    told |= {"AGUI_FRONTEND": release.frontend} if release.frontend else {}
    return told
