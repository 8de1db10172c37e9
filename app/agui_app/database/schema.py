"""Our tables as SQLAlchemy metadata, beside those of ADK: what the migrations must produce.

`REQUIRED_SCHEMA` is the migration that this code needs. It is part of the release: the operator migrates to it before
the revision starts, and `/readyz` stays red on a database that is behind.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

REQUIRED_SCHEMA = "0001"

metadata = sa.MetaData()
_NOW = sa.text("now()")

schema_floor = sa.Table(
    "schema_floor",
    metadata,
    sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("revision", sa.Text, nullable=False),
)

orders = sa.Table(
    "orders",
    metadata,
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("customer", sa.Text, nullable=False),
    sa.Column("item", sa.Text, nullable=False),
    sa.Column("amount", sa.Numeric(12, 2), nullable=False),
    sa.Column("currency", sa.Text, nullable=False, server_default="USD"),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=_NOW),
    sa.Column("promised_on", sa.Date),  # since 0002: code that must also run on 0001 does not name it
)

carriers = sa.Table(  # since 0002
    "carriers",
    metadata,
    sa.Column("code", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("transit_days", sa.SmallInteger, nullable=False),
)

refunds = sa.Table(
    "refunds",
    metadata,
    sa.Column("user_id", sa.Text, primary_key=True),
    sa.Column("session_id", sa.Text, primary_key=True),
    sa.Column("function_call_id", sa.Text, primary_key=True),
    sa.Column("order_id", sa.BigInteger, sa.ForeignKey("orders.id"), nullable=False),
    sa.Column("amount", sa.Numeric(12, 2), nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=_NOW),
)
sa.Index("refunds_order", refunds.c.order_id)

appointments = sa.Table(
    "appointments",
    metadata,
    sa.Column("user_id", sa.Text, primary_key=True),
    sa.Column("session_id", sa.Text, primary_key=True),
    sa.Column("function_call_id", sa.Text, primary_key=True),
    sa.Column("order_id", sa.BigInteger, sa.ForeignKey("orders.id"), nullable=False),
    sa.Column("day", sa.Text, nullable=False),
    sa.Column("slot", sa.Text, nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=_NOW),
)

approvals = sa.Table(
    "approvals",
    metadata,
    sa.Column("user_id", sa.Text, primary_key=True),
    sa.Column("session_id", sa.Text, primary_key=True),
    sa.Column("function_call_id", sa.Text, primary_key=True),
    sa.Column("tool", sa.Text, nullable=False),
    sa.Column("arguments", JSONB, nullable=False),
    sa.Column("status", sa.Text, nullable=False, server_default="requested"),
    sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False, server_default=_NOW),
    sa.Column("decided_at", sa.DateTime(timezone=True)),
)

audit_events = sa.Table(
    "audit_events",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False, server_default=_NOW),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("rule", sa.Text),
    sa.Column("stage", sa.Text),
    sa.Column("agent", sa.Text),
    sa.Column("user_id", sa.Text, nullable=False),
    sa.Column("session_id", sa.Text, nullable=False),
    sa.Column("invocation_id", sa.Text),
    sa.Column("revision", sa.Text),
    sa.Column("details", JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
)
sa.Index("audit_events_session", audit_events.c.user_id, audit_events.c.session_id)
sa.Index("audit_events_at", audit_events.c.at)

briefs = sa.Table(
    "briefs",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("user_id", sa.Text, nullable=False),
    sa.Column("session_id", sa.Text, nullable=False),
    sa.Column("topic", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("findings", JSONB, nullable=False, server_default=sa.text("'[]'::jsonb")),
    sa.Column("text", sa.Text),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=_NOW),
    sa.Column("completed_at", sa.DateTime(timezone=True)),
)

agent_runs = sa.Table(
    "agent_runs",
    metadata,
    sa.Column("user_id", sa.Text, primary_key=True),
    sa.Column("thread_id", sa.Text, primary_key=True),
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("instance", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False, server_default="running"),
    sa.Column("first_seq", sa.BigInteger, nullable=False),
    sa.Column("last_seq", sa.BigInteger),  # set when the run ended; the next run counts on from it
    sa.Column("outcome", JSONB),
    sa.Column("started_at", sa.DateTime(timezone=True), nullable=False, server_default=_NOW),
    sa.Column("heartbeat_at", sa.DateTime(timezone=True), nullable=False, server_default=_NOW),
    sa.Column("finished_at", sa.DateTime(timezone=True)),
)
# One live run a thread, on any instance: the second one is refused instead of interleaving its events.
sa.Index(
    "agent_runs_one_live",
    agent_runs.c.user_id,
    agent_runs.c.thread_id,
    unique=True,
    postgresql_where=sa.text("status = 'running'"),
)

run_events = sa.Table(
    "run_events",
    metadata,
    sa.Column("user_id", sa.Text, primary_key=True),
    sa.Column("thread_id", sa.Text, primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("run_id", sa.Text, nullable=False),
    # text, not jsonb: written once and sent on as it is; nobody queries inside
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False, server_default=_NOW),
)
sa.Index("run_events_at", run_events.c.at)
