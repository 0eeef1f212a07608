"""Raw tables of what people keep in Google Workspace for themselves: tasks, contacts, files."""

from __future__ import annotations

from typing import Final

from ao_pipeline.bundles.schema import TableSpec, boolean, day, instant, integer, json, text

RAW_GTASKS_LISTS: Final = TableSpec(
    asset="raw/gtasks_lists",
    row="one list of Google Tasks",
    key=(text("list_id"),),
    columns=(text("title"), instant("updated_at")),
)

RAW_GTASKS_TASKS: Final = TableSpec(
    asset="raw/gtasks_tasks",
    row="one task in one list of Google Tasks, hidden ones included",
    key=(text("list_id"), text("task_id")),
    columns=(
        text("title"),
        text("notes"),
        text("task_status", "needsAction | completed, an open enum"),
        day("due_on", "Google keeps no time of day"),
        instant("completed_at"),
        text("parent_id", "NULL unless a subtask"),
        boolean("is_hidden", "cleared from its list after completion"),
        text("position", "order among siblings, as text"),
        text("web_url"),
        instant("updated_at"),
    ),
)

RAW_PEOPLE_CONTACTS: Final = TableSpec(
    asset="raw/people_contacts",
    row="one contact of the subject",
    key=(text("resource_name", "people/…"),),
    columns=(
        text("display_name"),
        text("given_name"),
        text("family_name"),
        json("emails_json", "list of {email, type}, the primary one first, addresses in lower case"),
        json("phones_json", "list of {number, type}, the primary one first"),
        json("organizations_json", "list of {name, title, department}, the primary one first"),
        instant("updated_at", "newest change of any of its sources"),
    ),
)

RAW_DRIVE_FILES: Final = TableSpec(
    asset="raw/drive_files",
    row="one file or folder that the subject can see; metadata only",
    key=(text("file_id"),),
    columns=(
        text("name"),
        text("mime_type"),
        json("parents_json", "sorted list of folder ids"),
        text("owner_email", "NULL in shared drives"),
        boolean("is_trashed"),
        boolean("is_shared"),
        integer("size_bytes", "NULL for Google's own formats"),
        text("md5_checksum", "NULL for Google's own formats"),
        text("web_url"),
        instant("created_at"),
        instant("modified_at"),
    ),
)
