"""Truth tables: time, promises, capacity and client health as of the organisation's day. One row an entity, no history.

History is in the bundles; a row here is what holds now.
"""

from __future__ import annotations

from typing import Final

from ao_pipeline.bundles.schema import TableSpec, boolean, day, floating, integer, text

TRUTH_TIME_BLOCKS: Final = TableSpec(
    asset="truth/time_blocks",
    row="one slot of one lane on one day, today to 13 days ahead",
    key=(day("block_on"), text("lane_id"), integer("start_minute", "minutes after local midnight")),
    columns=(
        integer("end_minute"),
        integer("minutes"),
        text("kind", "protected (the lane's people are in meetings) | task | free"),
        text("task_id", "the one task of the slot; NULL unless kind is task"),
        text("member_id", "the task's assignee"),
        integer("task_minutes", "the task's estimate; NULL unless kind is task"),
        integer("overflow_minutes", "estimate that does not fit in the slot; NULL unless kind is task"),
        day("task_due_on"),
    ),
)

TRUTH_COMMITMENTS: Final = TableSpec(
    asset="truth/commitments",
    row="one promise or request found in a mail",
    key=(text("commitment_id", "16 hex digits of the SHA-256 of message id and text"),),
    columns=(
        text("mailbox"),
        text("message_id"),
        text("thread_id"),
        text("client_id", "the mail's client"),
        text("kind", "promise (the sender will act) | request (the sender asks)"),
        text("text", "the sentence, cut"),
        text("owner", "address of who must act; NULL when unknown"),
        text("target", "address of who waits; NULL when unknown"),
        boolean("is_ours", "somebody of the agency must act"),
        day("said_on", "org-local day of the mail"),
        day("deadline_on", "org-local, counted from the day of the mail; NULL when none was said"),
        floating("confidence", "0.7 to 1"),
        text("status", "open | linked (a task stands for it) | overdue | done (that task is completed)"),
        text("task_id", "NULL without a task that clearly stands for it"),
    ),
)

TRUTH_CAPACITY: Final = TableSpec(
    asset="truth/capacity",
    row="one lane on one day, today to 13 days ahead",
    key=(day("capacity_on"), text("lane_id")),
    columns=(
        integer("effective_minutes", "weekly hours without buffer, spread over working days; 0 on days off"),
        integer("protected_minutes"),
        integer("scheduled_minutes"),
        integer("free_minutes"),
        integer("due_minutes", "estimates of open tasks due that day; today also what is overdue"),
        integer("task_count", "tasks with a slot that day"),
        floating("utilization_ratio", "scheduled to effective; NULL when nothing is effective"),
        boolean("is_overloaded", "utilization above 1"),
        integer("debt_minutes", "work due by that day without a slot by then"),
    ),
)

TRUTH_CLIENT_HEALTH: Final = TableSpec(
    asset="truth/client_health",
    row="one active client",
    key=(text("client_id"),),
    columns=(
        text("tier"),
        text("model_version"),
        integer("score", "0 to 100; NULL when no component has data"),
        text("data_status", "complete | partial | no_data"),
        boolean("is_at_risk", "score below the tier's threshold; NULL without a score"),
        floating("delivery_score", "0 to 100; NULL without tasks"),
        floating("cash_score", "0 to 100; NULL without invoices"),
        floating("responsiveness_score", "0 to 100; NULL without inbound mail in the window"),
        floating("commitments_score", "0 to 100; NULL without commitments"),
        integer("open_task_count"),
        integer("overdue_task_count"),
        integer("missed_response_count"),
        integer("waiting_thread_count", "threads without an answer for more than three days"),
        integer("overdue_commitment_count", "ours, at most 30 days late"),
        integer("severe_invoice_count", "61 days and older"),
    ),
)

TRUTH_TABLES: Final = (TRUTH_TIME_BLOCKS, TRUTH_COMMITMENTS, TRUTH_CAPACITY, TRUTH_CLIENT_HEALTH)
