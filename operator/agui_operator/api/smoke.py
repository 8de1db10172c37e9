"""Smoke checks: what a release must prove at 0 % of the traffic, and again after promotion.

A check names a path, never a URL or a host: where it goes is decided by the operator, from what Cloud Run answered.
"""

from __future__ import annotations

import json
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from agui_operator.api import expression
from agui_operator.api.base import (
    PRESERVE,
    Argument,
    CheckName,
    Duration,
    Image,
    Model,
    Rule,
    ServiceAccount,
    UrlPath,
    one_of,
)

JSON_BYTES = 2048
JSON_DEPTH = 8
SAY_MAX = 2000


class Stage(StrEnum):
    """When a check runs."""

    CANDIDATE = "candidate"
    PROMOTED = "promoted"


def _bounded(raw: Any) -> Any:
    """Free JSON of a spec: small and shallow, because nothing else bounds it."""
    fix = f"keep it below {JSON_BYTES} bytes and {JSON_DEPTH} levels"
    if _depth(raw) > JSON_DEPTH or len(json.dumps(raw)) > JSON_BYTES:
        raise PydanticCustomError("json_size", "must be a small JSON value", {"fix": fix})
    return raw


def _depth(raw: Any, level: int = 0) -> int:
    if level > JSON_DEPTH:
        return level
    children = raw.values() if isinstance(raw, dict) else raw if isinstance(raw, list) else ()
    return max((_depth(child, level + 1) for child in children), default=level)


def _messages(raw: Any) -> Any:
    fix = f"write one text or a list of 1 to 5 texts of at most {SAY_MAX} characters each"
    texts = [raw] if isinstance(raw, str) else raw
    good = (
        isinstance(texts, list)
        and 1 <= len(texts) <= 5
        and all(isinstance(t, str) and 0 < len(t) <= SAY_MAX for t in texts)
    )
    if not good:
        raise PydanticCustomError("say", "must be a string or a list of 1 to 5 strings", {"fix": fix})
    return raw if isinstance(raw, str) else tuple(texts)


def _expression(pattern: str) -> str:
    try:
        expression.check(pattern)
    except expression.ExpressionInvalid as wrong:
        fix = "write it without look-around and back references, and with fewer repetitions"
        raise PydanticCustomError(
            "expression", "must be a regular expression ({why})", {"why": str(wrong), "fix": fix}
        ) from wrong
    return pattern


Expression = Annotated[str, Field(min_length=1, max_length=expression.PATTERN_LIMIT), AfterValidator(_expression)]
SmallObject = Annotated[dict[str, Any], BeforeValidator(_bounded), Field(json_schema_extra={PRESERVE: True})]
SmallJson = Annotated[Any, BeforeValidator(_bounded), Field(json_schema_extra={PRESERVE: True})]
Say = Annotated[Any, BeforeValidator(_messages), Field(json_schema_extra={PRESERVE: True})]
JsonPath = Annotated[
    str,
    Field(
        pattern=r"""^[$]([.][A-Za-z_][A-Za-z0-9_-]*|\['[^'\\]*'\]|\["[^"\\]*"\]|\[-?[0-9]{1,9}\])*$""",
        max_length=256,
    ),
]


class HttpCheck(Model):
    """One request and its status, and at most one value of a JSON answer."""

    path: UrlPath = Field(description="Path and query.")
    method: Literal["GET", "HEAD", "POST"] = Field("GET", description="HTTP method.")
    status: int = Field(200, ge=100, le=599, description="Status that is expected; redirects are not followed.")
    body: SmallObject | None = Field(None, description="JSON body of a POST.")
    json_path: JsonPath | None = Field(None, description="Where in the JSON answer to look, such as `$.schema.head`.")
    equals: SmallJson = Field(None, description="The JSON value that must be there.")

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="",  # equals may be any JSON, which CEL can't see
            holds=lambda c: (c.json_path is None) == (c.equals is None),
            message="must have both jsonPath and equals, or neither",
            fix="add the missing one",
            at="jsonPath",
        ),
        Rule(
            cel="!has(self.body) || self.method == 'POST'",
            holds=lambda c: c.body is None or c.method == "POST",
            message="must be absent unless method is POST",
            fix="set method: POST",
            at="body",
        ),
    )


class WebSocketCheck(Model):
    """The connection opens and stays open."""

    path: UrlPath = Field(description="Path and query.")
    hold_seconds: int = Field(5, ge=0, le=300, description="Seconds for which it must stay open.")
    first_frame: SmallJson = Field(
        None, description="First frame: a text is compared whole, an object is a part that its JSON must have."
    )


class Expectation(Model):
    """One thing that must happen, in this order, in the conversation."""

    text: Expression | None = Field(
        None, description="Regular expression (RE2 syntax) found in the first 64 kB of the answer."
    )
    tool: str | None = Field(
        None, pattern="^[A-Za-z_][A-Za-z0-9_.-]*$", max_length=64, description="Name of a tool that was called."
    )
    interrupt: str | None = Field(
        None, pattern="^[A-Za-z_][A-Za-z0-9_.:-]*$", max_length=64, description="Reason the agent stopped to ask."
    )
    resume: SmallObject | None = Field(None, description="Answer to the open interrupt; a new run begins with it.")
    blocked: str | None = Field(
        None, pattern="^[A-Za-z_][A-Za-z0-9_.-]*$", max_length=64, description="Guardrail rule that blocked the run."
    )
    finished: Literal[True] | None = Field(None, description="The run ended well.")
    state: SmallObject | None = Field(None, description="Part that the conversation's state must have.")

    RULES: ClassVar[tuple[Rule, ...]] = (
        one_of("text", "tool", "interrupt", "resume", "blocked", "finished", "state", what="expectation"),
    )


class AgentCheck(Model):
    """A conversation over AG-UI (https://docs.ag-ui.com/concepts/events)."""

    path: UrlPath = Field("/agent", description="Path of the AG-UI endpoint.")
    say: Say = Field(description="What the user says: one text, or a list of them for several turns.")
    expect: tuple[Expectation, ...] = Field(
        (Expectation(finished=True),), min_length=1, max_length=20, description="What must happen, in order."
    )
    first_token_within: Duration | None = Field(None, description="Longest time until the agent begins to answer.")


class AssetsCheck(Model):
    """Every file that the page loads is there, byte for byte."""

    integrity: Literal["sha256", "sha384", "sha512"] = Field(
        "sha384", description="Weakest subresource integrity that a file must have."
    )
    runtime_url: bool = Field(True, description="The page must call the backend of this environment.")


class SqlCheck(Model):
    """A verification of the records in the database, run by the migrations' image as a Cloud Run job."""

    check: CheckName = Field(description="Name of the check: the job gets the arguments `verify <name>`.")


class JobCheck(Model):
    """Any test in a container, run as a Cloud Run job; it passes when it exits with 0. It has the backend's plain
    environment variables, none of its secrets and no database socket. It is told what to check: AGUI_STAGE (candidate
    or promoted), AGUI_RELEASE, AGUI_FRONTEND (folder of the page), AGUI_ORIGIN (where users go) and AGUI_BACKEND_URL
    (where this release's own backend answers)."""

    image: Image = Field(description="Container image; pin it by digest.")
    command: tuple[Argument, ...] = Field((), max_length=20, description="Replaces the image's entry point.")
    args: tuple[Argument, ...] = Field((), max_length=40, description="Replaces the image's arguments.")
    timeout: Duration = Field(timedelta(minutes=10), description="Maximum time of the job.")
    service_account: ServiceAccount | None = Field(
        None, description="Identity of the job; absent: the backend's. One that may do nothing is enough for most."
    )


_KINDS = ("http", "websocket", "agent", "assets", "sql", "job")


class SmokeCheck(Model):
    """One check, of exactly one kind."""

    name: CheckName = Field(description="Name, shown in status and events.")
    http: HttpCheck | None = Field(None, description="An HTTP request.")
    websocket: WebSocketCheck | None = Field(None, description="A WebSocket connection.")
    agent: AgentCheck | None = Field(None, description="A conversation with the agent.")
    assets: AssetsCheck | None = Field(None, description="The page and its files.")
    sql: SqlCheck | None = Field(None, description="Records in the database.")
    job: JobCheck | None = Field(
        None,
        description="A container that exits with 0. AGUI_STAGE, AGUI_RELEASE, AGUI_FRONTEND, AGUI_ORIGIN and "
        "AGUI_BACKEND_URL tell it what to check.",
    )
    attempts: int = Field(3, ge=1, le=10, description="Attempts before the check fails.")
    timeout: Duration = Field(timedelta(seconds=10), description="Maximum time of one attempt.")
    at: tuple[Stage, ...] = Field(
        (Stage.CANDIDATE, Stage.PROMOTED),
        min_length=1,
        max_length=2,
        description="When it runs: `candidate` before user traffic, `promoted` after all traffic is on the release.",
    )

    RULES: ClassVar[tuple[Rule, ...]] = (one_of(*_KINDS, what="check"),)

    @property
    def kind(self) -> str:
        """Name of the kind that is set."""
        return next(kind for kind in _KINDS if getattr(self, kind) is not None)
