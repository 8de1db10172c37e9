"""The plain JSON API beside the agents: what the page shows without a conversation."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Request

from agui_app.agents.tools import read_order
from agui_app.http.common import caller_of, services_of

router = APIRouter(prefix="/api", tags=["orders"])


@router.get("/orders/{order_id}", responses={404: {"description": "no such order"}})
async def order(request: Request, order_id: Annotated[int, Path(ge=1, le=2**63 - 1)]) -> dict[str, Any]:
    """One order of the caller's customer, from the database; another customer's order is not found."""
    services = services_of(request)
    single = services.engine.execution_options(isolation_level="AUTOCOMMIT")  # one statement needs no transaction
    async with single.connect() as connection:
        found = await read_order(connection, order_id, caller_of(request).customer)
    if found is None:
        raise HTTPException(404, f"there is no order {order_id}")
    return found | {"served_by": services.settings.revision, "version": services.settings.version}
