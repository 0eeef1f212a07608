"""Add circuit breakers."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "ao_breaker",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("outcome_at_us", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.BigInteger(), nullable=False),
        sa.Column("slow_calls", sa.BigInteger(), nullable=False),
        sa.Column("good_probes", sa.BigInteger(), nullable=False),
        sa.Column("spacing_seconds", sa.BigInteger(), nullable=False),
        sa.Column("opened_at_us", sa.BigInteger(), nullable=True),
        sa.Column("next_probe_at_us", sa.BigInteger(), nullable=True),
        sa.Column("probe_holder", sa.Text(), nullable=False),
        sa.Column("probe_at_us", sa.BigInteger(), nullable=False),
        sa.Column("probe_left_seconds", sa.BigInteger(), nullable=False),
        sa.Column("forced", sa.Text(), nullable=False),
        sa.Column("forced_until_us", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("opened_count", sa.BigInteger(), nullable=False),
        sa.Column("half_opened_count", sa.BigInteger(), nullable=False),
        sa.Column("closed_count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        comment="Where each circuit breaker stands: what its events add up to; one that never saw a failure has no row",
    )
    op.create_table(
        "ao_breaker_event",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("cycle", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("is_slow", sa.Boolean(), nullable=False),
        sa.Column("until_us", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("from_state", sa.Text(), nullable=False),
        sa.Column("to_state", sa.Text(), nullable=False),
        sa.Column("recorded_at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", "seq"),
        comment="Everything that ever moved a circuit breaker, in order; only appended",
    )
    op.create_table(
        "ao_failure",
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("cycle", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("root_run_id", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("asset", "cycle", "run_id", "attempt"),
        comment="One failed attempt of a step: its error and whether it is transient, permanent or a bug",
    )
    op.create_index(op.f("ix_ao_failure_at_us"), "ao_failure", ["at_us"], unique=False)
    op.create_index("ix_ao_failure_cycle", "ao_failure", ["cycle"], unique=False)
