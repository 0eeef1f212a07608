"""Calendars and their events to rows. The calendar is the request's and is added by the collector."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ao_pipeline.bundles.canonical import canonical_json
from ao_pipeline.collect.batch import Record, Row
from ao_pipeline.collect.values import (
    as_bool,
    as_day,
    as_instant,
    as_key,
    as_object,
    as_objects,
    as_text,
    as_texts,
)


def parse_calendar(record: Record) -> Row:
    """Return a row of `raw_calendar_calendars`."""
    own_name = as_text(record.get("summaryOverride"), "summaryOverride")
    return {
        "calendar_id": as_key(record.get("id"), "id"),
        "summary": own_name or as_text(record.get("summary"), "summary"),
        "description": as_text(record.get("description"), "description"),
        "time_zone": as_text(record.get("timeZone"), "timeZone"),
        "access_role": as_text(record.get("accessRole"), "accessRole"),
        "is_primary": bool(as_bool(record.get("primary"), "primary")),
        "is_selected": bool(as_bool(record.get("selected"), "selected")),
        "is_hidden": bool(as_bool(record.get("hidden"), "hidden")),
    }


def is_tombstone(record: Record) -> bool:
    """Return whether an answered event is gone: cancelled, and not an exception of a recurring one.

    A cancelled exception is a fact of its own (this one meeting does not take place) and stays a row.
    """
    return record.get("status") == "cancelled" and not record.get("recurringEventId")


def parse_event(record: Record) -> Row:
    """Return a row of `raw_calendar_events` without its calendar."""
    start = as_object(record.get("start"), "start")
    end = as_object(record.get("end"), "end")
    if not start and not end and record.get("status") == "cancelled":
        # Cancelled exceptions guarantee only where they would have stood.
        start = as_object(record.get("originalStartTime"), "originalStartTime")
    return {
        "event_id": as_key(record.get("id"), "id"),
        "status": as_text(record.get("status"), "status"),
        "summary": as_text(record.get("summary"), "summary"),
        "location": as_text(record.get("location"), "location"),
        "is_all_day": bool(start.get("date")) if start else None,
        "start_at": as_instant(start.get("dateTime"), "start.dateTime"),
        "end_at": as_instant(end.get("dateTime"), "end.dateTime"),
        "start_on": as_day(start.get("date"), "start.date"),
        "end_on": as_day(end.get("date"), "end.date"),
        "time_zone": as_text(start.get("timeZone"), "start.timeZone"),
        "organizer_email": _lower(as_object(record.get("organizer"), "organizer").get("email"), "organizer.email"),
        "attendees_json": canonical_json(_attendees(record)),
        "recurring_event_id": as_text(record.get("recurringEventId"), "recurringEventId"),
        "recurrence_json": canonical_json(as_texts(record.get("recurrence"), "recurrence")),
        "event_type": as_text(record.get("eventType"), "eventType"),
        "conference_url": _conference_url(record),
        "created_at": _stamp(record.get("created"), "created"),
        "updated_at": _stamp(record.get("updated"), "updated"),
    }


def _attendees(record: Record) -> list[dict[str, Any]]:
    found = [
        {
            "email": _lower(item.get("email"), "attendees.email"),
            "display_name": as_text(item.get("displayName"), "attendees.displayName"),
            "response_status": as_text(item.get("responseStatus"), "attendees.responseStatus"),
            "is_organizer": bool(as_bool(item.get("organizer"), "attendees.organizer")),
            "is_optional": bool(as_bool(item.get("optional"), "attendees.optional")),
        }
        for item in as_objects(record.get("attendees"), "attendees")
    ]
    return sorted(found, key=lambda item: (str(item["email"] or ""), str(item["display_name"] or "")))


def _conference_url(record: Record) -> str | None:
    link = as_text(record.get("hangoutLink"), "hangoutLink")
    if link:
        return link
    conference = as_object(record.get("conferenceData"), "conferenceData")
    points = as_objects(conference.get("entryPoints"), "conferenceData.entryPoints")
    video = next((point for point in points if point.get("entryPointType") == "video"), None)
    return as_text(video.get("uri"), "conferenceData.entryPoints.uri") if video else None


def _stamp(value: Any, field: str) -> datetime | None:
    """Return when something was done. Imported events and holidays say `0000-12-31`, which means that nobody knows."""
    return None if isinstance(value, str) and value.startswith("0000-") else as_instant(value, field)


def _lower(value: Any, field: str) -> str | None:
    text = as_text(value, field)
    return text.strip().lower() or None if text is not None else None
