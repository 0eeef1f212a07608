"""What an independent reader makes of the vendor objects behind each raw table."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from ao_pipeline_tests.sources.source_engine import SPECS, Engine

FULL_EACH_TIME = {
    "raw/asana_users",
    "raw/asana_projects",
    "raw/calendar_calendars",
    "raw/chat_spaces",
    "raw/gtasks_lists",
}


def instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC)


def xero_millis(text: str) -> datetime:
    return datetime.fromtimestamp(int(text[6:].split("+")[0].rstrip(")/")) / 1000, UTC)


def minor(invoice: dict[str, Any], field: str) -> int:
    return int(Decimal(str(invoice[field])) * (1000 if invoice["CurrencyCode"] == "KWD" else 100))


def gid(value: dict[str, Any] | None) -> str | None:
    return value["gid"] if value else None


# What an independent reader makes of the vendor objects: (key, some columns).
EXPECTED: dict[str, Callable[[str, dict[str, Any]], tuple[tuple[str, ...], dict[str, Any]] | None]] = {
    "raw/asana_users": lambda _, o: ((o["gid"],), {"name": o["name"], "email": o["email"]}),
    "raw/asana_projects": lambda _, o: ((o["gid"],), {"name": o["name"], "is_archived": o["archived"]}),
    "raw/asana_sections": lambda _, o: (
        (o["project"]["gid"], o["gid"]),
        {"name": o["name"], "created_at": instant(o["created_at"])},
    ),
    "raw/asana_tasks": lambda _, o: (
        (o["gid"],),
        {
            "name": o["name"],
            "notes": o["notes"],
            "is_completed": o["completed"],
            "completed_at": instant(o["completed_at"]),
            "assignee_gid": gid(o["assignee"]),
            "parent_gid": gid(o["parent"]),
            "subtask_count": o["num_subtasks"],
            "modified_at": instant(o["modified_at"]),
        },
    ),
    "raw/asana_stories": lambda _, o: (
        (o["gid"],),
        {
            "task_gid": o["target"]["gid"],
            "story_type": o["type"],
            "resource_subtype": o["resource_subtype"],
            "text": o["text"],
            "created_by_gid": gid(o["created_by"]),
            "created_at": instant(o["created_at"]),
        },
    ),
    "raw/gmail_messages": lambda place, o: (
        (place, o["id"]),
        {
            "thread_id": o["threadId"],
            "history_id": o["historyId"],
            "sent_at": datetime.fromtimestamp(int(o["internalDate"]) / 1000, UTC),
            "labels_json": "[" + ",".join(f'"{label}"' for label in sorted(o["labelIds"])) + "]",
        },
    ),
    "raw/calendar_events": lambda place, o: (
        None
        if o["status"] == "cancelled" and "recurringEventId" not in o
        else (
            (place, o["id"]),
            {"status": o["status"], "summary": o.get("summary"), "recurring_event_id": o.get("recurringEventId")},
        )
    ),
    "raw/calendar_calendars": lambda _, o: (
        (o["id"],),
        {"summary": o["summary"], "access_role": o["accessRole"], "is_primary": o.get("primary", False)},
    ),
    "raw/chat_members": lambda _, o: (
        (o["name"],),
        {
            "space_name": o["name"].split("/members/")[0],
            "member_name": o["member"]["name"],
            "role": o["role"],
            "created_at": instant(o["createTime"]),
        },
    ),
    "raw/chat_spaces": lambda _, o: ((o["name"],), {"display_name": o.get("displayName")}),
    "raw/chat_messages": lambda place, o: (
        (o["name"],),
        {
            "space_name": place,
            "text": o.get("text"),
            "created_at": instant(o["createTime"]),
            "edited_at": instant(o.get("lastUpdateTime")),
            "is_deleted": "deleteTime" in o,
        },
    ),
    "raw/gtasks_lists": lambda _, o: ((o["id"],), {"title": o["title"], "updated_at": instant(o["updated"])}),
    "raw/gtasks_tasks": lambda place, o: (
        (place, o["id"]),
        {
            "title": o["title"],
            "task_status": o["status"],
            "completed_at": instant(o.get("completed")),
            "is_hidden": o.get("hidden", False),
            "updated_at": instant(o["updated"]),
        },
    ),
    "raw/people_contacts": lambda _, o: (
        (o["resourceName"],),
        {
            "display_name": o["names"][0]["displayName"] if "names" in o else None,
            "phones_json": json.dumps(
                [{"number": item["value"], "type": item["type"]} for item in o.get("phoneNumbers", [])],
                separators=(",", ":"),
            ),
            "updated_at": instant(o["metadata"]["sources"][0]["updateTime"]),
        },
    ),
    "raw/drive_files": lambda _, o: (
        (o["id"],),
        {
            "name": o["name"],
            "is_trashed": o["trashed"],
            "size_bytes": int(o["size"]) if "size" in o else None,
            "owner_email": o["owners"][0]["emailAddress"],
            "modified_at": instant(o["modifiedTime"]),
        },
    ),
    "raw/xero_contacts": lambda _, o: (
        (o["ContactID"],),
        {"name": o["Name"], "contact_status": o["ContactStatus"], "updated_at": xero_millis(o["UpdatedDateUTC"])},
    ),
    "raw/xero_invoices": lambda _, o: (
        (o["InvoiceID"],),
        {
            "invoice_status": o["Status"],
            "currency": o["CurrencyCode"],
            "total_minor": minor(o, "Total"),
            "amount_due_minor": minor(o, "AmountDue"),
            "contact_id": o["Contact"]["ContactID"],
        },
    ),
    "raw/xero_payments": lambda _, o: (
        (o["PaymentID"],),
        {
            "payment_status": o["Status"],
            "invoice_id": o["Invoice"]["InvoiceID"],
            "currency": o["Invoice"]["CurrencyCode"],
            "amount_minor": minor({**o, "CurrencyCode": o["Invoice"]["CurrencyCode"]}, "Amount"),
            "updated_at": xero_millis(o["UpdatedDateUTC"]),
        },
    ),
    "raw/xero_credit_notes": lambda _, o: (
        (o["CreditNoteID"],),
        {
            "credit_note_status": o["Status"],
            "total_minor": minor(o, "Total"),
            "remaining_credit_minor": minor(o, "RemainingCredit"),
            "allocations_json": json.dumps(
                [
                    {
                        "allocated_on": xero_millis(item["Date"]).date().isoformat(),
                        "amount": f"{Decimal(str(item['Amount'])).normalize():f}",
                        "invoice_id": item["Invoice"]["InvoiceID"],
                    }
                    for item in o["Allocations"]
                ],
                separators=(",", ":"),
            ),
        },
    ),
}


def truth(engine: Engine, asset: str) -> dict[tuple[str, ...], dict[str, Any]]:
    found = (EXPECTED[asset](item["in"], item["object"]) for item in engine.box.truth(SPECS[asset].name))
    return dict(pair for pair in found if pair is not None)


def stored(engine: Engine, asset: str, like: dict[tuple[str, ...], dict[str, Any]]) -> dict[Any, dict[str, Any]]:
    columns = next(iter(like.values())).keys()
    return {key: {name: row[name] for name in columns} for key, row in engine.rows[asset].items()}


def assert_equals_truth(engine: Engine, asset: str) -> None:
    expected = truth(engine, asset)
    assert stored(engine, asset, expected) == expected
