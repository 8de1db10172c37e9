"""The audit trail: every block, approval and refund is one database row and one structured log line.

The log line alone would be lost with the log's retention; the row alone would not alert anyone. A row that cannot be
written is an error in the log, never the end of the user's run.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from agui_app.agents.approvals import Approvals
from agui_app.agents.guardrails import Finding
from agui_app.agents.run_context import current_run
from agui_app.telemetry.logs import log
from agui_app.telemetry.measures import Measures

logger = logging.getLogger("agui_app.audit")
_LEVELS = {"NOTICE": logging.INFO, "WARNING": logging.WARNING, "ERROR": logging.ERROR}


class AuditTrail:
    """Writes audit records for one instance of the application; `approvals` are the decisions that they are about."""

    def __init__(self, engine: AsyncEngine, revision: str, measures: Measures) -> None:
        self._engine = engine
        self.approvals = Approvals(engine)
        self._revision = revision
        self._measures = measures

    async def finding(self, finding: Finding, **where: Any) -> None:
        """A guardrail applied."""
        self._measures.applied(finding.rule, finding.action)
        await self.record(
            f"guardrail.{finding.action}",
            level=_LEVELS[finding.severity],
            rule=finding.rule,
            stage=finding.stage,
            **where,
        )

    async def record(
        self,
        event: str,
        *,
        user_id: str,
        session_id: str,
        level: int = logging.INFO,
        rule: str | None = None,
        stage: str | None = None,
        agent: str | None = None,
        invocation_id: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """One row in `audit_events` and one line in the log. `details` must hold no message content."""
        row = {
            "event": event,
            "rule": rule,
            "stage": stage,
            "agent": agent,
            "user_id": user_id,
            "session_id": session_id,
            "invocation_id": invocation_id,
        }
        log(logger, level, **{k: v for k, v in row.items() if v is not None}, **dict(details or {}))
        try:
            async with self._engine.begin() as connection:
                await connection.execute(
                    _INSERT, row | {"revision": self._revision or None, "details": json.dumps(dict(details or {}))}
                )
        except (SQLAlchemyError, OSError, TimeoutError) as exc:
            current_run().guard_failed = True
            log(logger, logging.ERROR, "audit_lost", lost_event=event, rule=rule, error=type(exc).__name__)


_INSERT = text(
    "INSERT INTO audit_events (event, rule, stage, agent, user_id, session_id, invocation_id, revision, details)"
    " VALUES (:event, :rule, :stage, :agent, :user_id, :session_id, :invocation_id, :revision,"
    " CAST(:details AS jsonb))"
)
