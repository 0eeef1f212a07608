"""Keep the figures of rows that are gone, and index what the exporter sums."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "ao_total",
        sa.Column("figure", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("figure", "subject", "detail"),
        comment="What counters keep of bundles and cycle records that are no longer there; see state.totals",
    )
    op.create_index(
        "ix_ao_bundle_figures",
        "ao_bundle",
        ["asset", "kind", "rows_inserted", "rows_updated", "rows_deleted", "duration_ms"],
    )
    op.create_index("ix_ao_cycle_figures", "ao_cycle", ["status", "cycle", "opened_at_us", "closed_at_us"])
