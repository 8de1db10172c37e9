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

from agui_app.run_context import current_run


class Topic(BaseModel):
    """What to research."""

    topic: str = Field(description="A product or a group of products, for example 'oak bookshelf'.")


def research_pipeline(engine: AsyncEngine) -> Workflow:
    """The tool `research_brief`: open -> (catalogue, purchases) -> join -> write."""

    async def open_brief(node_input: Topic) -> dict[str, Any]:
        run = current_run()
        topic = " ".join(node_input.topic.lower().split())[:200]
        brief = hashlib.sha256(f"{run.user_id}\n{run.thread_id}\n{run.run_id}\n{topic}".encode()).hexdigest()[:24]
        async with engine.begin() as connection:
            await connection.execute(
                _OPEN, {"id": brief, "user": run.user_id, "session": run.thread_id, "topic": topic}
            )
        return {"brief": brief, "topic": topic}

    async def catalogue(node_input: dict[str, Any]) -> dict[str, Any]:
        words = [word for word in node_input["topic"].split() if len(word) > 2]
        async with engine.connect() as connection:
            rows = (await connection.execute(_CATALOGUE, {"words": words})).mappings().all()
        items = [{"item": r["item"], "from": f"{r['low']:.2f}", "to": f"{r['high']:.2f}"} for r in rows]
        return node_input | {"source": "catalogue", "items": items}

    async def purchases(node_input: dict[str, Any]) -> dict[str, Any]:
        words = [word for word in node_input["topic"].split() if len(word) > 2]
        async with engine.connect() as connection:
            row = (await connection.execute(_PURCHASES, {"words": words})).mappings().one()
        return node_input | {"source": "purchases", "sold": row["sold"], "refunded": row["refunded"]}

    async def write_brief(node_input: dict[str, Any]) -> dict[str, Any]:
        findings = sorted(node_input.values(), key=lambda finding: str(finding["source"]))
        brief, topic = findings[0]["brief"], findings[0]["topic"]
        body = _compose(topic, findings)
        stored = [{k: v for k, v in f.items() if k not in ("brief", "topic")} for f in findings]
        async with engine.begin() as connection:
            await connection.execute(_CLOSE, {"id": brief, "findings": json.dumps(stored), "text": body})
        return {"status": "complete", "brief": brief, "topic": topic, "text": body}

    join = JoinNode(name="findings")
    return Workflow(
        name="research_brief",
        description="Researches a product in the catalogue and in past purchases and writes a short brief.",
        input_schema=Topic,
        edges=[
            (START, open_brief),
            (open_brief, catalogue, join),
            (open_brief, purchases, join),
            (join, write_brief),
        ],
    )


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
_CATALOGUE = text(
    "SELECT item, min(amount) AS low, max(amount) AS high FROM orders"
    " WHERE EXISTS (SELECT 1 FROM unnest(CAST(:words AS text[])) AS w WHERE item ILIKE '%' || w || '%')"
    " GROUP BY item ORDER BY item LIMIT 5"
)
_PURCHASES = text(
    "SELECT count(*) AS sold, count(r.order_id) AS refunded FROM orders o"
    " LEFT JOIN refunds r ON r.order_id = o.id"
    " WHERE EXISTS (SELECT 1 FROM unnest(CAST(:words AS text[])) AS w WHERE o.item ILIKE '%' || w || '%')"
)
