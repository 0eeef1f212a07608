"""Raw tables: one row per upstream object, in the source's own words. Links and rules come later, in other tables."""

from __future__ import annotations

from typing import Final

from ao_pipeline.bundles.schema import TableSpec, boolean, day, decimal, instant, integer, json, text
from ao_pipeline.collect.workspace_tables import (
    RAW_DRIVE_FILES,
    RAW_GTASKS_LISTS,
    RAW_GTASKS_TASKS,
    RAW_PEOPLE_CONTACTS,
)

RAW_ASANA_USERS: Final = TableSpec(
    asset="raw/asana_users",
    row="one Asana user of the workspace",
    key=(text("user_gid"),),
    columns=(text("name"), text("email", "NULL when Asana hides it")),
)

RAW_ASANA_PROJECTS: Final = TableSpec(
    asset="raw/asana_projects",
    row="one Asana project, archived ones included",
    key=(text("project_gid"),),
    columns=(
        text("name"),
        boolean("is_archived"),
        text("owner_gid", "NULL without owner"),
        day("due_on"),
        text("status_color", "current_status.color, an open enum"),
        instant("created_at"),
        instant("modified_at"),
        text("permalink_url"),
    ),
)

RAW_ASANA_SECTIONS: Final = TableSpec(
    asset="raw/asana_sections",
    row="one section (a column or heading) of one Asana project",
    key=(text("project_gid"), text("section_gid")),
    columns=(text("name"), instant("created_at")),
)

RAW_ASANA_TASKS: Final = TableSpec(
    asset="raw/asana_tasks",
    row="one Asana task or subtask, once, however many projects hold it",
    key=(text("task_gid"),),
    columns=(
        text("name"),
        text("notes"),
        boolean("is_completed"),
        instant("completed_at"),
        day("due_on"),
        instant("due_at", "NULL when only a day was set"),
        text("assignee_gid"),
        text("parent_gid", "NULL unless a subtask"),
        integer("subtask_count"),
        json("projects_json", "list of {project_gid, section_gid, section_name}, sorted by project_gid"),
        json("tags_json", "sorted list of tag names"),
        json("custom_fields_json", "list of {gid, name, type, display_value}, sorted by gid"),
        instant("created_at"),
        instant("modified_at"),
    ),
)

RAW_ASANA_STORIES: Final = TableSpec(
    asset="raw/asana_stories",
    row="one story of one Asana task: a comment, or what the system noted",
    key=(text("story_gid"),),
    columns=(
        text("task_gid"),
        text("story_type", "comment | system, an open enum"),
        text("resource_subtype", "comment_added | marked_complete | …, an open enum"),
        text("text"),
        text("created_by_gid", "NULL when the system wrote it"),
        instant("created_at"),
    ),
)

RAW_GMAIL_MESSAGES: Final = TableSpec(
    asset="raw/gmail_messages",
    row="one message in one mailbox",
    key=(text("mailbox", "address of the mailbox"), text("message_id")),
    columns=(
        text("thread_id"),
        text("history_id", "uint64 as text"),
        instant("sent_at", "internalDate"),
        text("from_email", "lower case; NULL when the header cannot be read"),
        text("from_name"),
        text("subject"),
        text("snippet"),
        text("body_text", "plain text; from HTML when there is no plain part"),
        json("labels_json", "sorted list of label ids"),
        json("participants_json", "list of {role: from|to|cc|bcc|reply_to, email, name}, in header order"),
        json("attachments_json", "list of {part_id, filename, mime_type, size_bytes}"),
        integer("size_bytes"),
    ),
)

RAW_CALENDAR_EVENTS: Final = TableSpec(
    asset="raw/calendar_events",
    row="one event (single, recurring master or exception) in one calendar",
    key=(text("calendar_id"), text("event_id")),
    columns=(
        text("status", "confirmed | tentative | cancelled, an open enum"),
        text("summary"),
        text("location"),
        boolean("is_all_day"),
        instant("start_at", "NULL for all-day events"),
        instant("end_at", "NULL for all-day events"),
        day("start_on", "first day; all-day events only"),
        day("end_on", "day after the last; all-day events only"),
        text("time_zone"),
        text("organizer_email"),
        json(
            "attendees_json",
            "list of {email, display_name, response_status, is_organizer, is_optional}, sorted by email",
        ),
        text("recurring_event_id", "master's id on exceptions"),
        json("recurrence_json", "list of RFC 5545 lines on masters"),
        text("event_type", "default | focusTime | outOfOffice | …, an open enum"),
        text("conference_url"),
        instant("created_at"),
        instant("updated_at"),
    ),
)

RAW_CALENDAR_CALENDARS: Final = TableSpec(
    asset="raw/calendar_calendars",
    row="one calendar in the subject's list, hidden ones included",
    key=(text("calendar_id"),),
    columns=(
        text("summary", "the subject's own name for it where there is one"),
        text("description"),
        text("time_zone"),
        text("access_role", "freeBusyReader | reader | writer | owner, an open enum"),
        boolean("is_primary"),
        boolean("is_selected"),
        boolean("is_hidden"),
    ),
)

RAW_CHAT_SPACES: Final = TableSpec(
    asset="raw/chat_spaces",
    row="one Google Chat space that the caller is a member of",
    key=(text("space_name", "spaces/…"),),
    columns=(text("display_name"), text("space_type"), text("threading_state"), instant("created_at")),
)

RAW_CHAT_MEMBERS: Final = TableSpec(
    asset="raw/chat_members",
    row="one person, group or application in one space",
    key=(text("membership_name", "spaces/…/members/…"),),
    columns=(
        text("space_name"),
        text("member_name", "users/… or groups/…"),
        text("member_type", "HUMAN | BOT | GROUP, an open enum"),
        text("role", "ROLE_MEMBER | ROLE_MANAGER | …, an open enum"),
        text("state", "JOINED | INVITED | …, an open enum"),
        instant("created_at"),
    ),
)

RAW_CHAT_MESSAGES: Final = TableSpec(
    asset="raw/chat_messages",
    row="one message in one space; deleted ones keep their row with is_deleted",
    key=(text("message_name", "spaces/…/messages/…"),),
    columns=(
        text("space_name"),
        text("thread_name"),
        text("sender_name", "users/…"),
        text("text"),
        instant("created_at"),
        instant("edited_at", "lastUpdateTime; NULL when never edited"),
        boolean("is_deleted"),
        json("attachments_json", "list of {name, content_name, content_type}"),
        json("reactions_json", "list of {emoji, count}, sorted by emoji"),
    ),
)

RAW_XERO_CONTACTS: Final = TableSpec(
    asset="raw/xero_contacts",
    row="one Xero contact",
    key=(text("contact_id"),),
    columns=(
        text("name"),
        text("email"),
        text("contact_status", "ACTIVE | ARCHIVED | GDPRREQUEST, an open enum"),
        boolean("is_customer"),
        boolean("is_supplier"),
        text("default_currency"),
        text("merged_to_contact_id"),
        instant("updated_at"),
    ),
)

RAW_XERO_INVOICES: Final = TableSpec(
    asset="raw/xero_invoices",
    row="one Xero invoice of any type and status",
    key=(text("invoice_id"),),
    columns=(
        text("invoice_type", "ACCREC (we are owed) | ACCPAY, an open enum"),
        text("invoice_status", "DRAFT | SUBMITTED | AUTHORISED | PAID | VOIDED | DELETED, an open enum"),
        text("invoice_number"),
        text("reference"),
        text("contact_id"),
        text("contact_name"),
        text("currency", "ISO 4217"),
        day("issued_on"),
        day("due_on"),
        integer("total_minor", "minor units of currency"),
        integer("amount_due_minor", "minor units of currency"),
        integer("amount_paid_minor", "minor units of currency"),
        integer("amount_credited_minor", "minor units of currency"),
        day("fully_paid_on"),
        json(
            "lines_json",
            "list of {line_id, description, quantity, unit_amount, line_amount, account_code}, amounts as decimal text",
        ),
        instant("updated_at", "UpdatedDateUTC; not a watermark, see docs"),
    ),
)

RAW_XERO_PAYMENTS: Final = TableSpec(
    asset="raw/xero_payments",
    row="one Xero payment of any type and status",
    key=(text("payment_id"),),
    columns=(
        text("payment_type", "ACCRECPAYMENT (we were paid) | ACCPAYPAYMENT | …, an open enum"),
        text("payment_status", "AUTHORISED | DELETED, an open enum"),
        text("invoice_id", "NULL when it pays no invoice"),
        text("invoice_number"),
        text("credit_note_id", "NULL when it refunds no credit note"),
        text("reference"),
        day("paid_on"),
        text("currency", "ISO 4217, of the document that it pays; NULL when the answer names none"),
        integer("amount_minor", "minor units of currency; NULL without currency"),
        decimal("amount", "as the vendor wrote it, exact"),
        boolean("is_reconciled"),
        instant("updated_at", "UpdatedDateUTC; not a watermark, see docs"),
    ),
)

RAW_XERO_CREDIT_NOTES: Final = TableSpec(
    asset="raw/xero_credit_notes",
    row="one Xero credit note of any type and status",
    key=(text("credit_note_id"),),
    columns=(
        text("credit_note_type", "ACCRECCREDIT (we owe) | ACCPAYCREDIT, an open enum"),
        text("credit_note_status", "DRAFT | SUBMITTED | AUTHORISED | PAID | VOIDED | DELETED, an open enum"),
        text("credit_note_number"),
        text("reference"),
        text("contact_id"),
        text("contact_name"),
        text("currency", "ISO 4217"),
        day("issued_on"),
        day("fully_paid_on"),
        integer("total_minor", "minor units of currency"),
        integer("remaining_credit_minor", "minor units of currency; not allocated yet"),
        json("allocations_json", "list of {invoice_id, amount, allocated_on}, amounts as decimal text"),
        instant("updated_at", "UpdatedDateUTC; not a watermark, see docs"),
    ),
)

RAW_TABLES: Final = (
    RAW_ASANA_USERS,
    RAW_ASANA_PROJECTS,
    RAW_ASANA_SECTIONS,
    RAW_ASANA_TASKS,
    RAW_ASANA_STORIES,
    RAW_GMAIL_MESSAGES,
    RAW_CALENDAR_CALENDARS,
    RAW_CALENDAR_EVENTS,
    RAW_CHAT_SPACES,
    RAW_CHAT_MEMBERS,
    RAW_CHAT_MESSAGES,
    RAW_GTASKS_LISTS,
    RAW_GTASKS_TASKS,
    RAW_PEOPLE_CONTACTS,
    RAW_DRIVE_FILES,
    RAW_XERO_CONTACTS,
    RAW_XERO_INVOICES,
    RAW_XERO_PAYMENTS,
    RAW_XERO_CREDIT_NOTES,
)
