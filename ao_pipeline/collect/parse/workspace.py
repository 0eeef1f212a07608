"""Google tasks, contacts and files to rows."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ao_pipeline.bundles.canonical import canonical_json
from ao_pipeline.collect.batch import Record, Row
from ao_pipeline.collect.values import (
    as_bool,
    as_day,
    as_instant,
    as_int,
    as_key,
    as_object,
    as_objects,
    as_text,
    as_texts,
)


def parse_list(record: Record) -> Row:
    """Return a row of `raw_gtasks_lists`."""
    return {
        "list_id": as_key(record.get("id"), "id"),
        "title": as_text(record.get("title"), "title"),
        "updated_at": as_instant(record.get("updated"), "updated"),
    }


def parse_task(record: Record) -> Row:
    """Return a row of `raw_gtasks_tasks` without its list, which is the request's."""
    return {
        "task_id": as_key(record.get("id"), "id"),
        "title": as_text(record.get("title"), "title"),
        "notes": as_text(record.get("notes"), "notes"),
        "task_status": as_text(record.get("status"), "status"),
        "due_on": as_day(record.get("due"), "due"),
        "completed_at": as_instant(record.get("completed"), "completed"),
        "parent_id": as_text(record.get("parent"), "parent"),
        "is_hidden": bool(as_bool(record.get("hidden"), "hidden")),
        "position": as_text(record.get("position"), "position"),
        "web_url": as_text(record.get("webViewLink"), "webViewLink"),
        "updated_at": as_instant(record.get("updated"), "updated"),
    }


def parse_person(record: Record) -> Row:
    """Return a row of `raw_people_contacts`."""
    names = _primary_first(record, "names")
    name = names[0] if names else {}
    return {
        "resource_name": as_key(record.get("resourceName"), "resourceName"),
        "display_name": as_text(name.get("displayName"), "names.displayName"),
        "given_name": as_text(name.get("givenName"), "names.givenName"),
        "family_name": as_text(name.get("familyName"), "names.familyName"),
        "emails_json": canonical_json(
            [
                {
                    "email": (as_text(item.get("value"), "emailAddresses.value") or "").strip().lower() or None,
                    "type": as_text(item.get("type"), "emailAddresses.type"),
                }
                for item in _primary_first(record, "emailAddresses")
            ]
        ),
        "phones_json": canonical_json(
            [
                {
                    "number": as_text(item.get("value"), "phoneNumbers.value"),
                    "type": as_text(item.get("type"), "phoneNumbers.type"),
                }
                for item in _primary_first(record, "phoneNumbers")
            ]
        ),
        "organizations_json": canonical_json(
            [
                {key: as_text(item.get(key), f"organizations.{key}") for key in ("name", "title", "department")}
                for item in _primary_first(record, "organizations")
            ]
        ),
        "updated_at": _newest_source(record),
    }


def _primary_first(record: Record, field: str) -> list[dict[str, Any]]:
    """Return the entries of a field, the vendor's order kept but for the primary one."""
    found = as_objects(record.get(field), field)
    return sorted(
        found, key=lambda item: as_object(item.get("metadata"), f"{field}.metadata").get("primary") is not True
    )


def _newest_source(record: Record) -> datetime | None:
    metadata = as_object(record.get("metadata"), "metadata")
    times = [
        as_instant(source.get("updateTime"), "metadata.sources.updateTime")
        for source in as_objects(metadata.get("sources"), "metadata.sources")
    ]
    return max((time for time in times if time is not None), default=None)


def parse_file(record: Record) -> Row:
    """Return a row of `raw_drive_files`. Every file has a type, so one without is not a file's description."""
    owners = as_objects(record.get("owners"), "owners")
    email = as_text(owners[0].get("emailAddress"), "owners.emailAddress") if owners else None
    return {
        "file_id": as_key(record.get("id"), "id"),
        "name": as_text(record.get("name"), "name"),
        "mime_type": as_key(record.get("mimeType"), "mimeType"),
        "parents_json": canonical_json(sorted(as_texts(record.get("parents"), "parents"))),
        "owner_email": email.strip().lower() or None if email is not None else None,
        "is_trashed": as_bool(record.get("trashed"), "trashed"),
        "is_shared": as_bool(record.get("shared"), "shared"),
        "size_bytes": as_int(record.get("size"), "size"),
        "md5_checksum": as_text(record.get("md5Checksum"), "md5Checksum"),
        "web_url": as_text(record.get("webViewLink"), "webViewLink"),
        "created_at": as_instant(record.get("createdTime"), "createdTime"),
        "modified_at": as_instant(record.get("modifiedTime"), "modifiedTime"),
    }
