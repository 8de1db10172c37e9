"""Delivery estimates (concierge 1.1.0): when an order arrives, as an API and as a tool of the orders agent.

Needs migration 0002: the promised day of an order and the carriers' transit times.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, HTTPException, Path, Request
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from agui_app.agents.run_context import current_run
from agui_app.http.common import caller_of

REQUIRED_SCHEMA = "0002"
router = APIRouter(prefix="/api", tags=["delivery"])


async def estimate(connection: AsyncConnection, order_id: int, customer: str) -> dict[str, Any] | None:
    """`{"order_id", "promised_on", "carrier", "transit_days"}`, or None when the customer has no such order."""
    row = (await connection.execute(_ESTIMATE, {"id": order_id, "customer": customer})).mappings().one_or_none()
    if row is None:
        return None
    promised = row["promised_on"]
    return {
        "order_id": row["id"],
        "status": row["status"],
        "promised_on": promised.isoformat() if promised else None,
        "carrier": row["carrier"],
        "transit_days": row["transit_days"],
    }


@router.get("/orders/{order_id}/delivery", responses={404: {"description": "no such order"}})
async def delivery(request: Request, order_id: Annotated[int, Path(ge=1, le=2**63 - 1)]) -> dict[str, Any]:
    """The delivery estimate of one order."""
    async with request.app.state.services.engine.connect() as connection:
        found = await estimate(connection, order_id, caller_of(request).customer)
    if found is None:
        raise HTTPException(404, f"there is no order {order_id}")
    return found


def extend(app: FastAPI) -> None:
    """Adds the route."""
    app.include_router(router)


def tools(engine: AsyncEngine) -> Mapping[str, Sequence[Callable[..., Any]]]:
    """Adds the tool to the orders agent."""

    async def estimate_delivery(order_id: int) -> dict[str, Any]:
        """Says on which day an order arrives and who brings it."""
        async with engine.connect() as connection:
            found = await estimate(connection, order_id, current_run().customer)
        return found or {"status": "not_found", "order_id": order_id}

    return {"orders": [estimate_delivery]}


_ESTIMATE = text(
    "SELECT o.id, o.status, o.promised_on, c.name AS carrier, c.transit_days FROM orders o"
    " JOIN carriers c ON c.code = CASE WHEN o.amount > 5000 THEN 'AIR' WHEN o.amount > 400 THEN 'RAIL' ELSE 'ROAD' END"
    " WHERE o.id = :id AND o.customer = :customer"
)
