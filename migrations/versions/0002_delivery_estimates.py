"""Delivery estimates: one nullable column and one table; older releases do not notice them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("orders", sa.Column("promised_on", sa.Date))
    op.create_table(
        "carriers",
        sa.Column("code", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("transit_days", sa.SmallInteger, nullable=False),
    )
    op.execute(
        "INSERT INTO carriers (code, name, transit_days)"
        " VALUES ('AIR', 'Blue Sky Air', 2), ('RAIL', 'Northern Rail', 4), ('ROAD', 'Two Rivers Road', 6)"
    )
    op.execute("UPDATE orders SET promised_on = (created_at + interval '6 days')::date WHERE status <> 'delivered'")


def downgrade() -> None:
    raise NotImplementedError("a schema only moves forward; restore the backup instead")
