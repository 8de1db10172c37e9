"""What administrators allow: policy decisions, pure.

No policy, no deploy. A deployment is permitted if one policy that speaks for its namespace permits all of it: several
policies never add up to something that none of them allows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from agui_operator.api.deployment import AgUiDeploymentSpec
from agui_operator.api.policy import AgUiPolicySpec

_LISTED = 5


class Ground(Protocol):
    """Where a release runs: an environment, or the place that is remembered of one."""

    @property
    def project_id(self) -> str: ...

    @property
    def region(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that is refused: which field, its value and what the policy allows instead."""

    path: str
    value: str
    allowed: str

    def __str__(self) -> str:
        return f"{self.path}: {self.value} is not permitted; {self.allowed}"


@dataclass(frozen=True, slots=True)
class Freeze:
    """A time without change. `until` None: until an administrator ends it."""

    message: str
    until: datetime | None


def permitted(
    spec: AgUiDeploymentSpec,
    ground: Ground,
    namespace: str,
    policies: Sequence[AgUiPolicySpec],
) -> tuple[Violation, ...]:
    """Why this spec may not run in this namespace; empty if it may. Of several policies that all refuse, the one that
    comes closest is told."""
    own = [policy for policy in policies if matches(namespace, policy.namespaces)]
    if not own:
        return (Violation("metadata.namespace", namespace, "no AgUiPolicy names it"),)
    return min((tuple(_violations(spec, ground, policy)) for policy in own), key=len)


def frozen(policies: Sequence[AgUiPolicySpec], namespace: str, now: datetime) -> Freeze | None:
    """The freeze that holds for a namespace now: a stop before a window, and of windows the one that ends last."""
    own = [policy for policy in policies if matches(namespace, policy.namespaces)]
    for policy in own:
        if policy.stop.active:
            why = f": {policy.stop.reason}" if policy.stop.reason else ""
            return Freeze(f"stopped by an administrator{why}", None)
    windows = [window for policy in own for window in policy.freezes if window.from_ <= now < window.until]
    if not windows:
        return None
    last = max(windows, key=lambda window: window.until)
    return Freeze(f"freeze window {last.name} until {last.until.isoformat()}", last.until)


def matches(name: str, patterns: Sequence[str]) -> bool:
    """True if a pattern is the name, or ends in `*` and begins the name."""
    return any(name.startswith(p[:-1]) if p.endswith("*") else name == p for p in patterns)


def from_repository(image: str, prefixes: Sequence[str]) -> bool:
    """True if the image lies below a prefix; `host/team` does not cover `host/team-b`."""
    for prefix in prefixes:
        if prefix == "*":
            return True
        rest = image.removeprefix(prefix.rstrip("/"))
        if rest != image and rest[:1] in ("", "/", ":", "@") and not (prefix.endswith("/") and rest[:1] != "/"):
            return True
    return False


def _violations(spec: AgUiDeploymentSpec, ground: Ground, policy: AgUiPolicySpec) -> Iterator[Violation]:
    reference = f"spec.environmentRef ({spec.environment_ref.name})"
    if not matches(ground.project_id, policy.projects):
        yield Violation(f"{reference} projectId", ground.project_id, _listed("projects", policy.projects))
    if not matches(ground.region, policy.regions):
        yield Violation(f"{reference} region", ground.region, _listed("regions", policy.regions))
    yield from _identity(spec, ground, policy)
    for path, image in _images(spec):
        if not from_repository(image, policy.image_repositories):
            yield Violation(path, image, _listed("image repositories", policy.image_repositories))
    if spec.backend.ingress not in policy.ingress:
        yield Violation("spec.backend.ingress", str(spec.backend.ingress), _listed("ingress", policy.ingress))
    for index, name in enumerate(spec.alerts.channels if spec.alerts else ()):
        if not matches(name, policy.channels):
            yield Violation(f"spec.alerts.channels[{index}]", name, _listed("channels", policy.channels))
    yield from _over(spec, policy)


def _identity(spec: AgUiDeploymentSpec, ground: Ground, policy: AgUiPolicySpec) -> Iterator[Violation]:
    """A short name and the e-mail address of the same account are the same. A pattern without `@` speaks of accounts
    of the environment's project only."""
    short, _, host = spec.backend.service_account.partition("@")
    home = f"{ground.project_id}.iam.gserviceaccount.com"
    email = f"{short}@{host or home}"
    names = [p for p in policy.service_accounts if "@" in p or p == "*"]
    if host in ("", home):
        names += [p if p.endswith("*") else f"{p}@{home}" for p in policy.service_accounts if "@" not in p]
    if not matches(email, names):
        allowed = _listed("service accounts", policy.service_accounts)
        yield Violation("spec.backend.serviceAccount", spec.backend.service_account, allowed)


def _images(spec: AgUiDeploymentSpec) -> Iterator[tuple[str, str]]:
    yield "spec.backend.image", spec.backend.image
    if spec.migrations is not None and spec.migrations.image is not None:
        yield "spec.migrations.image", spec.migrations.image
    for index, check in enumerate(spec.smoke):
        if check.job is not None:
            yield f"spec.smoke[{index}].job.image", check.job.image


def _over(spec: AgUiDeploymentSpec, policy: AgUiPolicySpec) -> Iterator[Violation]:
    scaling, resources, limits = spec.backend.scaling, spec.backend.resources, policy.limits
    bounds: tuple[tuple[str, str, float, float | None, str], ...] = (
        ("scaling.maxInstances", f"{scaling.max_instances}", scaling.max_instances, limits.max_instances, ""),
        ("scaling.minInstances", f"{scaling.min_instances}", scaling.min_instances, limits.min_instances, ""),
        ("resources.cpu", resources.cpu, cpus(resources.cpu), limits.max_cpu, ""),
        ("resources.memory", resources.memory, mebibytes(resources.memory), limits.max_memory_mi, "Mi"),
    )
    for path, shown, value, bound, unit in bounds:
        if bound is not None and value > bound:
            yield Violation(f"spec.backend.{path}", shown, f"at most {bound:g}{unit} is allowed")


def cpus(text: str) -> float:
    """`500m` is 0.5."""
    return int(text[:-1]) / 1000 if text.endswith("m") else float(text)


def mebibytes(text: str) -> int:
    """`1Gi` is 1024."""
    return int(text[:-2]) * (1024 if text.endswith("Gi") else 1)


def _listed(what: str, patterns: Sequence[str]) -> str:
    shown = ", ".join(str(p) for p in patterns[:_LISTED])
    more = f" and {len(patterns) - _LISTED} more" if len(patterns) > _LISTED else ""
    return f"allowed {what}: {shown or 'none'}{more}"
