"""The research pipeline: an ADK workflow that gathers findings in parallel, writes a brief and records each step.

The record is opened before the work and closed by its last step, so that a run that died half-way is visible in the
database (`python -m agui_app.migrate verify pipelines`) and not only in a trace.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from google.adk.workflow import START, JoinNode, Workflow
from pydantic import BaseModel, Field
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from agui_app.agents.progress import Progress
from agui_app.agents.run_context import current_run

STEPS = ("open_brief", "catalogue", "purchases", "write_brief")


class Topic(BaseModel):
    """What to research."""

    topic: str = Field(description="A product or a group of products, for example 'oak bookshelf'.")


def research_pipeline(engine: AsyncEngine) -> Workflow:
    """The tool `research_brief`: open -> (catalogue, purchases) -> join -> write."""

    async def open_brief(node_input: Any) -> dict[str, Any]:
        run = current_run()
        topic = " ".join(Topic.model_validate(node_input).topic.lower().split())[:200]
        brief = hashlib.sha256(f"{run.user_id}\n{run.thread_id}\n{run.run_id}\n{topic}".encode()).hexdigest()[:24]
        async with engine.begin() as connection:
            await connection.execute(
                _OPEN, {"id": brief, "user": run.user_id, "session": run.thread_id, "topic": topic}
            )
        return {"brief": brief, "topic": topic}

    async def catalogue(node_input: dict[str, Any]) -> dict[str, Any]:
        async with engine.connect() as connection:
            rows = (await connection.execute(_CATALOGUE, {"words": _words(node_input)})).mappings().all()
        items = [{"item": r["item"], "from": f"{r['low']:.2f}", "to": f"{r['high']:.2f}"} for r in rows]
        return node_input | {"source": "catalogue", "items": items}

    async def purchases(node_input: dict[str, Any]) -> dict[str, Any]:
        async with engine.connect() as connection:
            row = (await connection.execute(_PURCHASES, {"words": _words(node_input)})).mappings().one()
        return node_input | {"source": "purchases", "sold": row["sold"], "refunded": row["refunded"]}

    async def write_brief(node_input: dict[str, Any]) -> dict[str, Any]:
        findings = sorted(node_input.values(), key=lambda finding: str(finding["source"]))
        brief, topic = findings[0]["brief"], findings[0]["topic"]
        body = _compose(topic, findings)
        stored = [{k: v for k, v in f.items() if k not in ("brief", "topic")} for f in findings]
        async with engine.begin() as connection:
            await connection.execute(_CLOSE, {"id": brief, "findings": json.dumps(stored), "text": body})
        return {"status": "complete", "brief": brief, "topic": topic, "text": body}

    async def abandon() -> None:
        run = current_run()
        async with engine.begin() as connection:
            await connection.execute(_ABANDON, {"user": run.user_id, "session": run.thread_id})

    progress = Progress("research_brief", STEPS, abandon)
    opening = progress.step("open_brief", open_brief, subject=lambda brief: str(brief["topic"]))
    items = progress.step("catalogue", catalogue, lambda found: _count(len(found["items"]), "product"))
    sales = progress.step("purchases", purchases, lambda found: _count(int(found["sold"]), "purchase"))
    writing = progress.step("write_brief", write_brief)
    join = JoinNode(name="findings")
    return Workflow(
        name="research_brief",
        description="Researches a product in the catalogue and in past purchases and writes a short brief.",
        input_schema=Topic,
        edges=[(START, opening), (opening, items, join), (opening, sales, join), (join, writing)],
    )


def _words(node_input: dict[str, Any]) -> list[str]:
    """What of a topic is searched for."""
    return [word for word in node_input["topic"].split() if len(word) > 2]


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _compose(topic: str, findings: list[dict[str, Any]]) -> str:
    """The brief's text, from findings alone."""
    by_source = {finding["source"]: finding for finding in findings}
    items = by_source["catalogue"]["items"]
    sales = by_source["purchases"]
    if not items:
        return f"Nothing in the catalogue is like {topic}."
    offers = "; ".join(f"{i['item']} from {i['from']} to {i['to']} USD" for i in items)
    return f"On {topic}: {offers}. Sold {sales['sold']} times, {sales['refunded']} refunds."


_OPEN = text(
    "INSERT INTO briefs (id, user_id, session_id, topic, status) VALUES (:id, :user, :session, :topic, 'running')"
    " ON CONFLICT (id) DO NOTHING"
)
_CLOSE = text(
    "UPDATE briefs SET status = 'complete', findings = CAST(:findings AS jsonb), text = :text, completed_at = now()"
    " WHERE id = :id"
)
# a thread has one live run, so what is open in it when a pipeline ends early is that run's
_ABANDON = text(
    "UPDATE briefs SET status = 'failed', completed_at = now()"
    " WHERE user_id = :user AND session_id = :session AND status = 'running'"
)
# What one customer alone bought is that customer's business; what several bought is the shop's catalogue.
_CATALOGUE = text(
    "SELECT item, min(amount) AS low, max(amount) AS high FROM orders"
    " WHERE EXISTS (SELECT 1 FROM unnest(CAST(:words AS text[])) AS w WHERE item ILIKE '%' || w || '%')"
    " GROUP BY item HAVING count(DISTINCT customer) > 1 ORDER BY item LIMIT 5"
)
_PURCHASES = text(
    "SELECT count(*) AS sold, count(r.order_id) AS refunded FROM orders o"
    " LEFT JOIN refunds r ON r.order_id = o.id"
    " WHERE EXISTS (SELECT 1 FROM unnest(CAST(:words AS text[])) AS w WHERE o.item ILIKE '%' || w || '%')"
    " AND o.item IN (SELECT item FROM orders GROUP BY item HAVING count(DISTINCT customer) > 1)"
)
