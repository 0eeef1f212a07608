"""Normalized tables: facts in our own words, and derived links in tables of their own (one writer for each column)."""

from __future__ import annotations

from typing import Final

from ao_pipeline.bundles.schema import TableSpec, boolean, day, floating, instant, integer, json, text

NORM_PROJECTS: Final = TableSpec(
    asset="norm/projects",
    row="one project",
    key=(text("project_id", "Asana gid"),),
    columns=(
        text("name"),
        text("name_normalized", "folded: lower case, no accents, no punctuation"),
        boolean("is_internal", "the name starts with `Internal:`"),
        boolean("is_archived"),
        text("engagement_type", "retainer | campaign | project"),
        text("health", "on_track | at_risk | off_track | unknown"),
        text("owner_gid"),
        day("due_on"),
        day("created_on", "org-local"),
    ),
)

NORM_PROJECT_LINKS: Final = TableSpec(
    asset="norm/project_links",
    row="what one project belongs to",
    key=(text("project_id"),),
    columns=(
        text("brand_id", "NULL when no brand, or more than one, fits"),
        text("client_id", "always the brand's; NULL for internal projects"),
        text("link_status", "linked | partial (brand without client) | unlinked | not_applicable (internal)"),
        text("rule", "internal | prefix | brand_name | ambiguous | none"),
    ),
)

NORM_TASKS: Final = TableSpec(
    asset="norm/tasks",
    row="one task or subtask",
    key=(text("task_id", "Asana gid"),),
    columns=(
        text("name"),
        text("name_normalized"),
        text("status", "open | completed"),
        text("project_id", "one of its projects, or its parent's; NULL without any"),
        text("project_rule", "own | parent | none"),
        text("parent_id"),
        text("member_id", "NULL without assignee or when the assignee is not in the team"),
        text("assignee_gid"),
        text("lane_id", "NULL only when no lane is defined"),
        text("lane_rule", "keyword | project_keyword | client_project | member | default | none"),
        day("due_on", "org-local"),
        day("created_on", "org-local"),
        day("completed_on", "org-local"),
        integer("estimated_minutes"),
        text("estimate_rule", "custom_field | verb | default"),
        boolean("is_urgent", "tagged urgent"),
    ),
)

NORM_TASK_LINKS: Final = TableSpec(
    asset="norm/task_links",
    row="what one task belongs to",
    key=(text("task_id"),),
    columns=(
        text("project_id", "NULL exactly when project_link_status is unlinked"),
        text("brand_id"),
        text("client_id", "NULL unless client_link_status is linked"),
        text("project_link_status", "linked | partial | unlinked"),
        text("client_link_status", "linked | unlinked | not_applicable"),
        text(
            "rule",
            "no_project | project_missing | internal | project_without_brand | brand_missing | client_missing | chain",
        ),
    ),
)

NORM_MESSAGES: Final = TableSpec(
    asset="norm/messages",
    row="one mail in one mailbox; drafts, spam and trash left out",
    key=(text("mailbox"), text("message_id")),
    columns=(
        text("thread_id"),
        instant("sent_at"),
        day("sent_on", "org-local"),
        text("direction", "inbound | outbound | internal | unknown (sender unreadable)"),
        text("from_email"),
        text("from_name"),
        text("counterpart_email", "the outside party; NULL for internal mail"),
        text("counterpart_domain"),
        text("subject"),
        text("body", "plain text without markup, quotes kept, cut"),
        text("content_hash", "equal for copies of one mail in several mailboxes"),
        boolean("is_automated", "no-reply and the like"),
        boolean("requires_response", "inbound, and asks for something"),
        instant("response_due_at", "NULL unless requires_response"),
        integer("attachment_count"),
        boolean("is_unread"),
    ),
)

NORM_MESSAGE_LINKS: Final = TableSpec(
    asset="norm/message_links",
    row="the client of one mail",
    key=(text("mailbox"), text("message_id")),
    columns=(
        text("client_id", "NULL unless linked"),
        text("link_status", "linked | ambiguous (two clients fit equally) | unlinked | not_applicable (internal)"),
        text("rule", "internal | identity_email | identity_domain | subject_name | thread | none"),
    ),
)

NORM_MEETINGS: Final = TableSpec(
    asset="norm/meetings",
    row="the part of one meeting that falls on one org-local day, 7 days back to 14 days ahead",
    key=(
        text("calendar_id"),
        text("event_id", "the master's id for expanded occurrences"),
        day("occurrence_on", "org-local day on which this occurrence starts"),
        day("meeting_on", "org-local day of this part"),
    ),
    columns=(
        text("title"),
        text(
            "expansion",
            "single | exception | expanded | unexpanded (a rule outside the supported subset; first day only)",
        ),
        boolean("is_all_day"),
        integer("start_minute", "minutes after local midnight; NULL for all-day"),
        integer("end_minute", "up to 1440; NULL for all-day"),
        integer("minutes", "0 for all-day"),
        text("event_type"),
        boolean("is_internal", "nobody from outside attends"),
        boolean("is_declined", "the calendar's owner declined"),
        boolean("is_blocking", "takes its people's time"),
        integer("attendee_count"),
        json("participants_json", "sorted addresses of our own people who have not declined"),
        text("organizer_email"),
    ),
)

NORM_INVOICES: Final = TableSpec(
    asset="norm/invoices",
    row="one sales invoice (ACCREC)",
    key=(text("invoice_id"),),
    columns=(
        text("invoice_number"),
        text("contact_id"),
        text("contact_name"),
        text("currency", "ISO 4217"),
        day("issued_on"),
        day("due_on"),
        day("paid_on"),
        text("status", "draft | open | overdue | paid | void | unknown"),
        integer("total_minor", "minor units of currency"),
        integer("amount_due_minor", "minor units of currency"),
        integer("days_overdue", "negative before the due date; NULL unless open with a due date"),
        text("aging_bucket", "current | 1-30 | 31-60 | 61-90 | 90+ | no_due_date; NULL unless open"),
        boolean("is_open_ar", "someone owes us this now"),
        boolean("is_valid_ar", "open and complete enough to chase"),
        text("invalid_reason", "no_due_date | no_contact | negative_amount | no_currency; NULL when valid or not open"),
    ),
)

NORM_INVOICE_LINKS: Final = TableSpec(
    asset="norm/invoice_links",
    row="the client of one sales invoice",
    key=(text("invoice_id"),),
    columns=(
        text("client_id", "NULL unless linked"),
        text("link_status", "linked | ambiguous | unlinked"),
        text("rule", "contact_name | client_name | alias | none"),
    ),
)

NORM_GATES: Final = TableSpec(
    asset="norm/gates",
    row="one data-quality gate",
    key=(text("gate"),),
    columns=(
        boolean("is_passed"),
        floating("measured", "a ratio where the threshold is one, else a count of offenders"),
        floating("threshold"),
        text("comparison", "at_least | at_most"),
        text("effect", "block | degrade | skip | warn | info: what a failure means"),
    ),
)

NORM_TABLES: Final = (
    NORM_PROJECTS,
    NORM_PROJECT_LINKS,
    NORM_TASKS,
    NORM_TASK_LINKS,
    NORM_MESSAGES,
    NORM_MESSAGE_LINKS,
    NORM_MEETINGS,
    NORM_INVOICES,
    NORM_INVOICE_LINKS,
    NORM_GATES,
)
