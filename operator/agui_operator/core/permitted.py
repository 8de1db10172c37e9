"""What administrators allow: policy decisions, pure.

No policy, no deploy. What is used is permitted if one policy that speaks for the namespace permits all of it: several
policies never add up to something that none of them allows. A policy that can't be read permits nothing, and holds what
runs in the namespaces that it names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agui_operator.api.policy import AgUiPolicySpec
from agui_operator.core.uses import Kind, Uses

_LISTED = 5


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


def refusals(uses: Uses, namespace: str, policies: Sequence[AgUiPolicySpec]) -> tuple[Violation, ...]:
    """Why this namespace may not use all of it; empty if it may. Of several policies that all refuse, the one that
    comes closest is told."""
    own = [policy for policy in policies if matches(namespace, policy.namespaces)]
    if not own:
        return (Violation("metadata.namespace", namespace, "no AgUiPolicy names it"),)
    return min((tuple(_violations(uses, policy)) for policy in own), key=len)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A policy that can't be read. `namespaces` are its patterns as far as they can be read, else all namespaces."""

    name: str
    namespaces: tuple[str, ...]
    error: str


def namespaces_of(raw: Any) -> tuple[str, ...]:
    """The namespace patterns of a spec that can't be read otherwise."""
    patterns = raw.get("namespaces") if isinstance(raw, Mapping) else None
    if not isinstance(patterns, list) or not patterns or not all(isinstance(p, str) and p for p in patterns):
        return ("*",)
    return tuple(patterns)


def frozen(
    policies: Sequence[AgUiPolicySpec], namespace: str, now: datetime, unreadable: Sequence[Unreadable] = ()
) -> Freeze | None:
    """The freeze that holds for a namespace now: a stop or an unreadable policy before a window, and of windows the one
    that ends last."""
    own = [policy for policy in policies if matches(namespace, policy.namespaces)]
    for policy in own:
        if policy.stop.active:
            why = f": {policy.stop.reason}" if policy.stop.reason else ""
            return Freeze(f"stopped by an administrator{why}", None)
    for broken in unreadable:
        if matches(namespace, broken.namespaces):
            return Freeze(f"AgUiPolicy {broken.name} can't be read, so nothing continues: {broken.error}", None)
    windows = [window for policy in own for window in policy.freezes if window.from_ <= now < window.until]
    if not windows:
        return None
    last = max(windows, key=lambda window: window.until)
    return Freeze(f"freeze window {last.name} until {last.until.isoformat()}", last.until)


def attested_by(policies: Sequence[AgUiPolicySpec], namespace: str) -> str:
    """The Binary Authorization that is demanded of everything deployed in a namespace: the first that a policy of it
    names, whichever policy permits the rest; "" if none does."""
    named = (p.binary_authorization for p in policies if matches(namespace, p.namespaces))
    return next((found for found in named if found), "")


def matches(name: str, patterns: Sequence[str]) -> bool:
    """True if a pattern is the name, or ends in `*` and begins the name."""
    return any(name.startswith(p[:-1]) if p.endswith("*") else name == p for p in patterns)


def from_repository(image: str, prefixes: Sequence[str]) -> bool:
    """True if the image lies below a prefix; `host/team` does not cover `host/team-b`."""
    for prefix in prefixes:
        if prefix == "*":
            return True
        begins = prefix.rstrip("/")
        rest = image.removeprefix(begins)
        ends = ("", "/", ":", "@") if "/" in begins else ("", "/")  # after a host alone, `:` begins a port
        if rest != image and rest[:1] in ends and not (prefix.endswith("/") and rest[:1] != "/"):
            return True
    return False


def _violations(uses: Uses, policy: AgUiPolicySpec) -> Iterator[Violation]:
    for use in uses.found:
        rule = _RULES[use.kind]
        if not rule.permits(use.value, uses.project, policy):
            yield Violation(use.path, use.value, rule.allowed(use.kind, policy))


def is_account(value: str, project: str, patterns: Sequence[str]) -> bool:
    """A short name and the e-mail address of the same account are the same. A pattern without `@` speaks of accounts
    of the environment's project only."""
    short, _, host = value.partition("@")
    home = f"{project}.iam.gserviceaccount.com"
    names = [p for p in patterns if "@" in p or p == "*"]
    if host in ("", home):
        names += [p if p.endswith("*") else f"{p}@{home}" for p in patterns if "@" not in p]
    return matches(f"{short}@{host or home}", names)


def is_domain(host: str, patterns: Sequence[str]) -> bool:
    """`*.example.com` is every host below example.com, and not example.com itself; `*` is every host."""
    return any(
        pattern == "*" or host == pattern or (pattern.startswith("*.") and host.endswith(pattern[1:]))
        for pattern in patterns
    )


def cpus(text: str) -> float:
    """`500m` is 0.5."""
    return int(text[:-1]) / 1000 if text.endswith("m") else float(text)


def mebibytes(text: str) -> int:
    """`1Gi` is 1024."""
    return int(text[:-2]) * (1024 if text.endswith("Gi") else 1)


@dataclass(frozen=True, slots=True)
class _Listed:
    """The policy lists what is allowed."""

    patterns: Callable[[AgUiPolicySpec], Sequence[str]]
    is_in: Callable[[str, str, Sequence[str]], bool] = lambda value, _, patterns: matches(value, patterns)

    def permits(self, value: str, project: str, policy: AgUiPolicySpec) -> bool:
        return self.is_in(value, project, self.patterns(policy))

    def allowed(self, kind: Kind, policy: AgUiPolicySpec) -> str:
        patterns = self.patterns(policy)
        shown = ", ".join(str(p) for p in patterns[:_LISTED])
        more = f" and {len(patterns) - _LISTED} more" if len(patterns) > _LISTED else ""
        return f"allowed {kind}: {shown or 'none'}{more}"


@dataclass(frozen=True, slots=True)
class _Bounded:
    """The policy has a highest value; None: no bound."""

    bound: Callable[[AgUiPolicySpec], float | None]
    amount: Callable[[str], float]
    unit: str = ""

    def permits(self, value: str, _: str, policy: AgUiPolicySpec) -> bool:
        bound = self.bound(policy)
        return bound is None or self.amount(value) <= bound

    def allowed(self, _: Kind, policy: AgUiPolicySpec) -> str:
        return f"at most {self.bound(policy):g}{self.unit} is allowed"


_RULES: Mapping[Kind, _Listed | _Bounded] = {
    Kind.PROJECT: _Listed(lambda p: p.projects),
    Kind.REGION: _Listed(lambda p: p.regions),
    Kind.ACCOUNT: _Listed(lambda p: p.service_accounts, is_account),
    Kind.IMAGE: _Listed(lambda p: p.image_repositories, lambda value, _, listed: from_repository(value, listed)),
    Kind.INGRESS: _Listed(lambda p: p.ingress),
    Kind.CHANNEL: _Listed(lambda p: p.channels),
    Kind.BUCKET: _Listed(lambda p: p.buckets),
    Kind.SQL_INSTANCE: _Listed(lambda p: p.sql_instances),
    Kind.DATABASE: _Listed(lambda p: p.databases),
    Kind.URL_MAP: _Listed(lambda p: p.url_maps),
    Kind.BACKEND: _Listed(lambda p: p.backends),
    Kind.DOMAIN: _Listed(lambda p: p.domains, lambda value, _, listed: is_domain(value, listed)),
    Kind.SECRET: _Listed(lambda p: p.secrets),
    Kind.MAX_INSTANCES: _Bounded(lambda p: p.limits.max_instances, float),
    Kind.MIN_INSTANCES: _Bounded(lambda p: p.limits.min_instances, float),
    Kind.CPU: _Bounded(lambda p: p.limits.max_cpu, cpus),
    Kind.MEMORY: _Bounded(lambda p: p.limits.max_memory_mi, mebibytes, "Mi"),
}
