"""Agent check: does the release hold the conversation that the spec describes?

Expectations are grouped by run: those before a `resume` belong to the run that it answers, and after `finished` the
next user message is said, if there is one. Within a run tools must be called in the given order; the rest may come
anywhere.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agui_operator.api.expression import ExpressionInvalid
from agui_operator.api.smoke import AgentCheck, Expectation
from agui_operator.checks import codes
from agui_operator.checks.agent_run import Run, Thread
from agui_operator.checks.conversation import Conversation
from agui_operator.checks.guard import Guard
from agui_operator.checks.json_path import within
from agui_operator.checks.pattern import SEARCHES
from agui_operator.checks.target import CheckTarget, Failed, Passed
from agui_operator.core.words import Disclosure, Words


@dataclass(frozen=True, slots=True)
class Turn:
    """One run: what starts it (a message, or an answer to an interrupt) and what it has to show."""

    say: str | None
    resume: Any
    expect: tuple[Expectation, ...]


def said(check: AgentCheck) -> tuple[str, ...]:
    """The user's messages."""
    return (check.say,) if isinstance(check.say, str) else tuple(check.say)


def turns_of(check: AgentCheck) -> tuple[Turn, ...]:
    """The conversation as a list of runs."""
    messages = list(said(check))
    turns: list[Turn] = []
    say: str | None = messages.pop(0)
    resume: Any = None
    expect: list[Expectation] = []
    for wanted in check.expect:
        if wanted.resume is not None:
            turns.append(Turn(say, resume, tuple(expect)))
            say, resume, expect = None, wanted.resume, []
            continue
        expect.append(wanted)
        if wanted.finished and messages:
            turns.append(Turn(say, resume, tuple(expect)))
            say, resume, expect = messages.pop(0), None, []
    turns.append(Turn(say, resume, tuple(expect)))
    return (*turns, *(Turn(message, None, ()) for message in messages))


async def check_agent(check: AgentCheck, target: CheckTarget, guard: Guard, seconds: float) -> Passed:
    """Holds the conversation within `seconds`. Raises Failed, TooLarge, Refused. The latency is the time
    to the first token."""
    thread = Thread(f"smoke-{target.release}-{uuid.uuid4().hex[:12]}")
    limit = check.first_token_within
    talk = Conversation(
        guard,
        target,
        check.path,
        thread,
        seconds=seconds,
        token_within=limit.total_seconds() if limit is not None else None,
    )
    run: Run | None = None
    turns = turns_of(check)
    try:
        for turn in turns:
            run = await _take(talk, turn, run, target.disclosure)
            await _hold_against(run, turn.expect, target)
    except Failed as failed:
        raise Failed(str(failed), talk.code, talk.first_token_ms) from failed
    runs = f"{len(turns)} runs" if len(turns) > 1 else "1 run"
    return Passed(f"the conversation went as expected in {runs}", talk.code, talk.first_token_ms)


async def _take(talk: Conversation, turn: Turn, before: Run | None, disclosure: Disclosure) -> Run:
    if turn.say is not None:
        return await talk.say(turn.say)
    if before is None or not before.interrupts:
        ended = before.outcome(disclosure) if before else "nothing was said"
        raise Failed(f"expected an interrupt to resume; {ended}")
    return await talk.resume(before.interrupts, turn.resume)


async def _hold_against(run: Run, expect: Sequence[Expectation], target: CheckTarget) -> None:
    shown = target.disclosure
    tools = iter(run.tools)
    for wanted in expect:
        if wanted.tool is not None and wanted.tool not in tools:  # `in` on an iterator goes on after the last one found
            raise Failed(f"expected tool {wanted.tool}; {run.outcome(shown)}")
        if wanted.interrupt is not None and _is_none_of(wanted.interrupt, [i.reason for i in run.interrupts]):
            raise Failed(f"expected interrupt {wanted.interrupt}; {run.outcome(shown)}")
        if wanted.blocked is not None and _is_none_of(wanted.blocked, run.blocked):
            raise Failed(f"expected blocked by {wanted.blocked}; {_blocks(run, shown)}")
        if wanted.text is not None and not await _said(wanted.text, run.text, target.tenant):
            raise Failed(f"expected text /{wanted.text}/; {_texts(run, shown)}")
        if wanted.state is not None:
            _expect_state(wanted.state, run, shown)
        if wanted.finished and (run.interrupts or run.order.ended != "RUN_FINISHED"):
            raise Failed(f"expected finished; {run.outcome(shown)}")
    if run.order.ended == "RUN_ERROR":
        raise Failed(f"expected RUN_FINISHED; {run.outcome(shown)}")


def _is_none_of(wanted: str, said: Sequence[Words]) -> bool:
    return Words.of_workload(wanted) not in said


async def _said(pattern: str, text: str, tenant: str) -> bool:
    try:
        return await SEARCHES.found(pattern, text, tenant)
    except ExpressionInvalid as wrong:
        raise Failed(f"expected text /{pattern}/; {wrong}") from wrong


def _expect_state(wanted: Any, run: Run, shown: Disclosure) -> None:
    if run.thread.state_fault:
        raise Failed(f"expected a state; {run.thread.state_fault}")
    if not within(wanted, run.thread.state):
        names = ", ".join(sorted(wanted)) if isinstance(wanted, dict) else "the whole state"
        raise Failed(f"expected state with {names}; the values differ when {run.outcome(shown)}")


def _blocks(run: Run, shown: Disclosure) -> str:
    if run.blocked:
        return f"the run was blocked by {run.blocked[0].among(codes.GUARDRAIL_RULES, shown, 'another rule')}"
    return f"no guardrail blocked it and {run.outcome(shown)}"


def _texts(run: Run, shown: Disclosure) -> str:
    return f"{'the text does not match' if run.texts else 'no text came'} and {run.outcome(shown)}"
