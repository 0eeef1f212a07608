"""The tables of circuit breakers: what failed, where each breaker stands, and the events that brought it there."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from ao_pipeline.adapters.state.catalog import ENGINE

_MICROS: Final = sa.BigInteger()

FAILURE: Final = sa.Table(
    "ao_failure",
    ENGINE,
    sa.Column("asset", sa.Text, primary_key=True),
    sa.Column("cycle", sa.Text, primary_key=True),
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("attempt", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("root_run_id", sa.Text, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("category", sa.Text, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("at_us", _MICROS, nullable=False, index=True),
    sa.Index("ix_ao_failure_cycle", "cycle"),
    comment="One failed attempt of a step: its error and whether it is transient, permanent or a bug",
)

BREAKER: Final = sa.Table(
    "ao_breaker",
    ENGINE,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("at_us", _MICROS, nullable=False),
    sa.Column("outcome_at_us", _MICROS, nullable=False),
    sa.Column("failures", sa.BigInteger, nullable=False),
    sa.Column("slow_calls", sa.BigInteger, nullable=False),
    sa.Column("good_probes", sa.BigInteger, nullable=False),
    sa.Column("spacing_seconds", sa.BigInteger, nullable=False),
    sa.Column("opened_at_us", _MICROS),
    sa.Column("next_probe_at_us", _MICROS),
    sa.Column("probe_holder", sa.Text, nullable=False),
    sa.Column("probe_at_us", _MICROS, nullable=False),
    sa.Column("probe_left_seconds", sa.BigInteger, nullable=False),
    sa.Column("forced", sa.Text, nullable=False),
    sa.Column("forced_until_us", _MICROS),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("opened_count", sa.BigInteger, nullable=False),
    sa.Column("half_opened_count", sa.BigInteger, nullable=False),
    sa.Column("closed_count", sa.BigInteger, nullable=False),
    comment="Where each circuit breaker stands: what its events add up to; one that never saw a failure has no row",
)

BREAKER_EVENT: Final = sa.Table(
    "ao_breaker_event",
    ENGINE,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("at_us", _MICROS, nullable=False),
    sa.Column("cycle", sa.Text, nullable=False),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("is_slow", sa.Boolean, nullable=False),
    sa.Column("until_us", _MICROS),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("policy", sa.Text, nullable=False),
    sa.Column("from_state", sa.Text, nullable=False),
    sa.Column("to_state", sa.Text, nullable=False),
    sa.Column("recorded_at_us", _MICROS, nullable=False),
    comment="Everything that ever moved a circuit breaker, in order; only appended",
)
