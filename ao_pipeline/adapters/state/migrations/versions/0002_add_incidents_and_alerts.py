"""Add incidents and alerts."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "ao_alert",
        sa.Column("alert_id", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("last_attempt_us", sa.BigInteger(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("alert_id"),
        comment="Alerts to the operator: pending | sent | dead; made durable before the first try",
    )
    op.create_index("ix_ao_alert_status", "ao_alert", ["status", "created_at_us"], unique=False)
    op.create_table(
        "ao_healing",
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("cycle", sa.Text(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("requested_at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("asset", "cycle", "attempt"),
        comment="Requests to compute a stale asset again, with the reason: what bounds them",
    )
    op.create_index("ix_ao_healing_requested", "ao_healing", ["requested_at_us"], unique=False)
    op.create_table(
        "ao_incident",
        sa.Column("incident_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("opened_at_us", sa.BigInteger(), nullable=False),
        sa.Column("last_seen_us", sa.BigInteger(), nullable=False),
        sa.Column("resolved_at_us", sa.BigInteger(), nullable=True),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("opened_alert", sa.Text(), nullable=True),
        sa.Column("resolved_alert", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("incident_id"),
        comment="What is or was wrong, from opening to resolution, and the alerts that told of both",
    )
    op.create_index("ix_ao_incident_resolved", "ao_incident", ["resolved_at_us"], unique=False)
