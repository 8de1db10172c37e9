"""Where a check is sent, and what it says about it. Kinds of checks share these and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agui_operator.checks.guard import CheckRequest
from agui_operator.core.names import RELEASE_HEADER
from agui_operator.core.words import UNDISCLOSED, Disclosure

SYNTHETIC = "x-agui-synthetic"  # requests with this header are not users: left out of objectives


@dataclass(frozen=True, slots=True)
class CheckTarget:
    """What is checked. `origin` comes from the Cloud Run API or the environment, never from a spec. `public` is True
    after promotion, where users are. `frontend` is the release folder of the assets. `by_name` is the release whose
    page the origin shows to requests that name it, before promotion. `audience` is the service's own origin if it wants
    an ID token. `tenant` is the namespace whose turns the check takes, `disclosure` what may be shown of its words.
    `others` are ids of the deployment's other releases: who they are may be told."""

    origin: str
    public: bool
    release: str
    runtime_url: str | None = None
    frontend: str | None = None
    by_name: str | None = None
    extra_headers: Mapping[str, str] = field(default_factory=dict)
    audience: str | None = None
    tenant: str = ""
    disclosure: Disclosure = UNDISCLOSED
    others: frozenset[str] = frozenset()

    def call(
        self,
        path: str,
        *,
        method: str = "GET",
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        deadline: float | None = None,
    ) -> CheckRequest:
        """A request to this target, marked as synthetic. `deadline` in seconds."""
        named = {RELEASE_HEADER: self.by_name} if self.by_name else {}
        merged = {SYNTHETIC: "smoke", **named, **self.extra_headers, **(headers or {})}
        return CheckRequest(self.origin, path, method, body, merged, deadline, self.audience)


class Failed(Exception):
    """The release does not do what the check expects. The message names the expectation and what came instead. Words of
    an answer are in it only as `Words.told` or `Words.among` gives them; `code` is the HTTP status if one was seen."""

    def __init__(self, message: str, code: int | None = None, latency_ms: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.latency_ms = latency_ms


@dataclass(frozen=True, slots=True)
class Passed:
    """The release does what the check expects."""

    message: str
    code: int | None = None
    latency_ms: float | None = None
