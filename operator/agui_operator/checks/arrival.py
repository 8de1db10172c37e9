"""Who answers? A release is checked when it is the one that answers, several times in a row over new connections.

Cloud Run and the load balancer store a change before their front ends serve it, and these learn one after the other. So
an answer of another release, or a 404 that names no release, means "not yet" within the propagation time, and is a
failure after it. A release names itself in the header `x-agui-release`, else in `release` of `/version`; a page is
known by its bytes. Of an application that names itself nowhere, only a 404 is waited for, and not for long: it may be
its own.

Source: "Rollbacks, gradual rollouts, and traffic migration" (Cloud Run) says that traffic changes are not
instantaneous; the times of a URL map are measured by others (localgcp/services/compute/propagation.py).
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from agui_operator.checks.addresses import Refused
from agui_operator.checks.assets_check import PAGE_LIMIT
from agui_operator.checks.guard import Guard, Reply, TooLarge, Unreachable
from agui_operator.checks.target import CheckTarget
from agui_operator.core.errors import trace_of
from agui_operator.core.names import RELEASE_HEADER

IN_A_ROW = 20  # right answers over new connections: of three front ends one that lags is missed 3 times in 10,000
PROPAGATION = 180.0  # seconds
_UNNAMED = 20.0  # seconds that a 404 without a name is waited for
_ASK_AGAIN = 0.3  # seconds
_DEADLINE = 10.0  # seconds for one answer

_log = logging.getLogger(__name__)
Look = Callable[[], Awaitable["Answer"]]


@dataclass(frozen=True, slots=True)
class Answer:
    """`who` says who answered where it was somebody else; None: the right one, or nobody can tell. `is_unnamed`: an
    application that names itself nowhere may answer so itself, so the wait is short and ends without a fault."""

    who: str | None = None
    is_unnamed: bool = False


async def arrived(target: CheckTarget, guard: Guard, *, page: bool, propagation: float = PROPAGATION) -> str | None:
    """Waits until the target answers as its release; `page`: until `/` is its page. Returns why it never did; None when
    it does, and when nobody answers: the checks say that better."""
    loop = asyncio.get_running_loop()
    began, in_a_row = loop.time(), 0
    try:
        look = _page_look(target, guard) if page else _release_look(target, guard)
        while look is not None and in_a_row < IN_A_ROW:
            answer = await look()
            if answer.who is None:
                in_a_row += 1
                continue
            in_a_row = 0
            patience = min(_UNNAMED, propagation) if answer.is_unnamed else propagation
            if loop.time() - began + _ASK_AGAIN > patience:
                return None if answer.is_unnamed else _sentence(target, answer.who, page, propagation)
            await asyncio.sleep(_ASK_AGAIN)
    except (Unreachable, TooLarge, Refused):
        return None
    except Exception as unexpected:
        _log.error("the look at who answers failed in itself: %s", trace_of(unexpected))
        return None
    return None


def _release_look(target: CheckTarget, guard: Guard) -> Look:
    async def look() -> Answer:
        reply = await guard.request(target.call("/version", deadline=_DEADLINE))
        name = reply.headers.get(RELEASE_HEADER) or _told(reply)
        if name is None:
            return Answer("nobody known", is_unnamed=True) if reply.code == 404 else Answer()
        if name == target.release:
            return Answer()
        return Answer(f"release {name}" if name in target.others else "another release")  # no words of an application

    return look


def _page_look(target: CheckTarget, guard: Guard) -> Look | None:
    """None where there is no page to compare with; the check of the assets says so."""
    if target.frontend is None or not (target.public or target.by_name):
        return None
    own: bytes | None = None

    async def page(path: str) -> Reply:
        return await guard.request(target.call(path, deadline=_DEADLINE), limit=PAGE_LIMIT)

    async def look() -> Answer:
        nonlocal own
        if own is None:  # a first release's folder is behind the same rules as its page
            folder = f"/releases/{target.frontend}/index.html"
            reply = await page(folder)
            if reply.code != 200:
                return Answer(f"status {reply.code} at {folder}")
            own = reply.body
        reply = await page("/")
        if reply.code != 200:
            return Answer(f"status {reply.code} at /")
        return Answer() if reply.body == own else Answer("another page")

    return look


def _told(reply: Reply) -> str | None:
    """What `/version` says."""
    try:
        name = json.loads(reply.body)["release"] if reply.code == 200 else None
    except (ValueError, RecursionError, LookupError, TypeError):
        return None
    return name if isinstance(name, str) and name else None


def _sentence(target: CheckTarget, who: str, page: bool, propagation: float) -> str:
    if page:
        asked = "/" if target.public else "/ for requests that name the release"
        expected = f"release folder {target.frontend} at {asked}"
    else:
        expected = f"an answer of release {target.release}"
    return f"expected {expected}; {who} was served for {propagation:g} s (AGUI_PROPAGATION_SECONDS)"
