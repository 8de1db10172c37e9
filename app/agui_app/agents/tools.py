"""What the agents can do to the world: read and refund orders, book delivery slots.

Each effect is keyed by the function call that asked for it (unique in its session): ADK resumes an approved call at
least once, and two instances may both be handed the approval, but an order is refunded once. The functions' names and
docstrings are what a model reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from google.adk.tools.tool_context import ToolContext
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from agui_app.agents.audit import AuditTrail
from agui_app.agents.guardrails import ApprovalRule, Guardrails, approval_of
from agui_app.agents.run_context import current_run

# Where the rules say nothing: no money without a limit.
DEFAULT_APPROVAL = ApprovalRule(id="refund_approval", kind="approval", tool="issue_refund", argument="amount", above=50)
SLOTS = ("morning", "afternoon", "evening")
SLOT_CAPACITY = 40


async def read_order(connection: AsyncConnection, order_id: int, customer: str) -> dict[str, Any] | None:
    """The customer's order as JSON; None when there is none, or it is another customer's. Amounts are strings: money is
    not a float."""
    row = (await connection.execute(_ORDER, {"id": order_id, "customer": customer})).mappings().one_or_none()
    if row is None:
        return None
    return {
        "order_id": row["id"],
        "customer": row["customer"],
        "item": row["item"],
        "amount": f"{row['amount']:.2f}",
        "currency": row["currency"],
        "status": row["status"],
        "refunded": f"{row['refunded']:.2f}",
        "created_at": row["created_at"].isoformat(),
    }


class OrderTools:
    """The tools of the `orders` and `scheduling` agents."""

    def __init__(self, engine: AsyncEngine, trail: AuditTrail, rules: Guardrails) -> None:
        self._engine = engine
        self._trail = trail
        self._approval = approval_of(rules, "issue_refund") or DEFAULT_APPROVAL

    async def lookup_order(self, order_id: int) -> dict[str, Any]:
        """Looks up one order by its number."""
        async with self._engine.connect() as connection:
            order = await read_order(connection, order_id, current_run().customer)
        return order or {"status": "not_found", "order_id": order_id}

    async def issue_refund(self, order_id: int, amount: float, tool_context: ToolContext) -> dict[str, Any]:
        """Pays back part of an order. Above a limit per order and day it needs an approval."""
        try:
            value = Decimal(str(amount)).quantize(Decimal("0.01"))
        except InvalidOperation:
            return {"status": "refused", "order_id": order_id, "message": "That is not an amount."}
        if not value > 0:
            return {"status": "refused", "order_id": order_id, "message": "The amount must be more than 0."}
        call_id = str(tool_context.function_call_id)
        run = current_run()
        async with self._engine.begin() as connection:
            # the row lock keeps two refunds from both fitting under the order's amount
            paid = (await connection.execute(_LOCK_ORDER, {"id": order_id, "customer": run.customer})).one_or_none()
            if paid is None:
                return {"status": "refused", "order_id": order_id, "message": "There is no such order."}
            key = {"user": run.user_id, "session": run.thread_id, "call": call_id}
            refunded = await connection.scalar(_REFUNDED, key | {"id": order_id})
            if (refunded or Decimal(0)) + value > paid.amount:
                return {"status": "refused", "order_id": order_id, "message": "That is more than was paid."}
            if not _approved(tool_context) and await self._above(connection, order_id, value, key):
                # another run paid since it was asked whether this one needs an approval
                return {"status": "refused", "order_id": order_id, "message": "It needs an approval; ask again."}
            made = await connection.execute(_REFUND, key | {"id": order_id, "amount": value})
        if made.rowcount:
            await self._trail.record(
                "refund.issued",
                user_id=run.user_id,
                session_id=run.thread_id,
                agent=tool_context.agent_name,
                invocation_id=tool_context.invocation_id,
                details={"order_id": order_id, "amount": str(value), "function_call_id": call_id},
            )
        return {"status": "refunded", "order_id": order_id, "amount": str(value), "currency": paid.currency}

    async def refund_needs_approval(self, order_id: int, amount: float, tool_context: ToolContext) -> bool:
        """Whether a person must agree first. What was asked once stays a question, whatever happened meanwhile."""
        if tool_context.tool_confirmation is not None:
            return True
        try:
            value = Decimal(str(amount))
        except InvalidOperation:
            return True
        run = current_run()
        key = {"user": run.user_id, "session": run.thread_id, "call": str(tool_context.function_call_id)}
        async with self._engine.connect() as connection:
            return await self._above(connection, order_id, value, key)

    async def _above(self, connection: AsyncConnection, order_id: int, value: Decimal, key: Mapping[str, str]) -> bool:
        """Whether this refund and those of the last 24 hours exceed what is paid without an approval. In a transaction
        no other refund for the customer can be added meanwhile."""
        rule, customer = self._approval, current_run().customer
        await connection.execute(_ONE_AT_A_TIME, {"customer": customer})
        paid = (await connection.execute(_PAID_TODAY, {**key, "id": order_id, "customer": customer})).one()
        if not paid.on_order + value <= Decimal(str(rule.above)):  # NaN is above
            return True
        return rule.per_customer is not None and paid.unasked + value > Decimal(str(rule.per_customer))

    async def book_slot(self, order_id: int, day: str, tool_context: ToolContext, slot: str = "") -> dict[str, Any]:
        """Books a delivery slot (morning, afternoon or evening) for an order on a weekday."""
        run = current_run()
        day = day.strip().lower()
        wanted = slot.strip().lower() if slot.strip().lower() in SLOTS else SLOTS[0]
        async with self._engine.begin() as connection:
            own = await connection.execute(_LOCK_ORDER, {"id": order_id, "customer": run.customer})
            if own.one_or_none() is None:
                return {"status": "not_found", "order_id": order_id}
            rows = await connection.execute(_TAKEN, {"day": day})
            taken = {row.slot: row.booked for row in rows}
            free = [name for name in SLOTS if taken.get(name, 0) < SLOT_CAPACITY]
            if wanted not in free:
                alternative = free[0] if free else "another day"
                return {"status": "full", "day": day, "slot": wanted, "alternative": alternative}
            await connection.execute(
                _BOOK,
                {
                    "call": str(tool_context.function_call_id),
                    "id": order_id,
                    "user": run.user_id,
                    "session": run.thread_id,
                    "day": day,
                    "slot": wanted,
                },
            )
        return {"status": "booked", "order_id": order_id, "day": day, "slot": wanted}


def _approved(tool_context: ToolContext) -> bool:
    return tool_context.tool_confirmation is not None and tool_context.tool_confirmation.confirmed is True


_ORDER = text(
    "SELECT id, customer, item, amount, currency, status, created_at,"
    " (SELECT coalesce(sum(amount), 0) FROM refunds WHERE order_id = orders.id) AS refunded"
    " FROM orders WHERE id = :id AND customer = :customer AND customer <> ''"
)
_LOCK_ORDER = text(
    "SELECT amount, currency FROM orders WHERE id = :id AND customer = :customer AND customer <> '' FOR UPDATE"
)
_REFUNDED = text(
    "SELECT sum(amount) FROM refunds WHERE order_id = :id"
    " AND (user_id, session_id, function_call_id) <> (:user, :session, :call)"
)
_ONE_AT_A_TIME = text("SELECT pg_advisory_xact_lock(hashtextextended('refund:' || :customer, 0))")
_PAID_TODAY = text(
    "SELECT coalesce(sum(r.amount) FILTER (WHERE r.order_id = :id), 0) AS on_order,"
    " coalesce(sum(r.amount) FILTER (WHERE a.status IS DISTINCT FROM 'granted'), 0) AS unasked"
    " FROM refunds r JOIN orders o ON o.id = r.order_id"
    " LEFT JOIN approvals a ON (a.user_id, a.session_id, a.function_call_id)"
    " = (r.user_id, r.session_id, r.function_call_id)"
    " WHERE o.customer = :customer AND r.created_at > now() - interval '24 hours'"
    " AND (r.user_id, r.session_id, r.function_call_id) <> (:user, :session, :call)"
)
_REFUND = text(
    "INSERT INTO refunds (user_id, session_id, function_call_id, order_id, amount)"
    " VALUES (:user, :session, :call, :id, :amount) ON CONFLICT DO NOTHING"
)
_TAKEN = text("SELECT slot, count(*) AS booked FROM appointments WHERE day = :day GROUP BY slot")
_BOOK = text(
    "INSERT INTO appointments (user_id, session_id, function_call_id, order_id, day, slot)"
    " VALUES (:user, :session, :call, :id, :day, :slot) ON CONFLICT DO NOTHING"
)
