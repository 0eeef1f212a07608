"""The outbox: every message ever planned, and what became of it."""

from __future__ import annotations

from typing import Final

from ao_pipeline.bundles.schema import TableSpec, day, instant, integer, text

NOTIFY_DELIVERIES: Final = TableSpec(
    asset="notify/deliveries",
    row="one message to one channel",
    is_revertible=False,
    key=(text("idempotency_key", "hash of kind, entity, org-local day and channel: planning twice gives one message"),),
    columns=(
        text(
            "kind",
            "morning_brief | client_at_risk | cash_severe | commitments_overdue | lanes_overloaded | data_degraded | overflow",
        ),
        text("priority", "critical | high | normal | low"),
        text("entity"),
        day("planned_on", "org-local day"),
        text("title"),
        text("body"),
        text("channel"),
        text("status", "pending | sent | dead (given up)"),
        integer("attempts", "sends tried"),
        text("first_cycle", "cycle that planned it"),
        instant("last_attempt_at", "NULL before the first try"),
        text("sent_cycle", "NULL until sent"),
        text("last_error", "class of the last error only; NULL after none"),
    ),
)

NOTIFY_TABLES: Final = (NOTIFY_DELIVERIES,)
