"""Raw rows of the simulated agency through every rule: conforming tables, sound links, the same whatever the order."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

from ao_pipeline.bundles.canonical import conform
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.clock import to_micros
from ao_pipeline.collect import tables as raw
from ao_pipeline.collect.parse import asana, calendar, gmail, xero
from ao_pipeline.collect.reference import parse_reference
from ao_pipeline.collect.reference_tables import REFERENCE_TABLES
from ao_pipeline.normalize import gates, invoices, meetings, message_links, messages, projects, tasks
from ao_pipeline.normalize import tables as norm
from ao_pipeline.notify.plan import plan_messages
from ao_pipeline.notify.tables import NOTIFY_DELIVERIES
from ao_pipeline.sandbox.options import options_from
from ao_pipeline.sandbox.world.agency import build_agency
from ao_pipeline.sandbox.world.world import World, day_start
from ao_pipeline.settings import PROJECT_DIR, Settings
from ao_pipeline.snapshot.build import build_snapshot
from ao_pipeline.snapshot.render import render_text
from ao_pipeline.snapshot.tables import SNAPSHOT_AGENCY
from ao_pipeline.truth import capacity, client_health, commitments, time_blocks
from ao_pipeline.truth import tables as truth

ZONE = ZoneInfo("Asia/Dubai")
NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
AS_OF = date(2026, 11, 22)
DOMAINS = ["agency.example"]
REFERENCE_DIR: Path = PROJECT_DIR / "deploy" / "reference"

Tables = dict[str, pa.Table]


def raw_tables() -> Tables:
    """Return what the collectors would store of the simulated agency."""
    options = options_from(Settings())
    agency = build_agency(
        options.seed, size=options.size, mailboxes=options.mailboxes, workspace_gid=options.asana_workspace_gid
    )
    micros = to_micros(NOW)
    world = World(agency, anchor=day_start(micros), now=micros)

    def live(name: str) -> list[dict[str, Any]]:
        return [record.data for record in world[name].records.values()]

    mails = [
        {"mailbox": name.partition(":")[2], **gmail.parse_message(record)}
        for name in world.collections
        if name.startswith("mails:")
        for record in live(name)
    ]
    events = [
        {"calendar_id": name.partition(":")[2], **calendar.parse_event(record)}
        for name in world.collections
        if name.startswith("events:")
        for record in (*live(name), *(gone.data for gone in world[name].tombstones.values()))
        if not calendar.is_tombstone(record)
    ]
    listed: list[tuple[TableSpec, list[dict[str, Any]]]] = [
        (raw.RAW_ASANA_PROJECTS, [asana.parse_project(record) for record in live("projects")]),
        (raw.RAW_ASANA_TASKS, [asana.parse_task(record) for record in live("tasks")]),
        (raw.RAW_ASANA_USERS, [asana.parse_user(record) for record in live("users")]),
        (raw.RAW_XERO_INVOICES, [xero.parse_invoice(record) for record in live("invoices")]),
        (raw.RAW_GMAIL_MESSAGES, mails),
        (raw.RAW_CALENDAR_EVENTS, events),
    ]
    found = {spec.name: conform(spec, rows) for spec, rows in listed}
    for kind, spec in REFERENCE_TABLES.items():
        path = REFERENCE_DIR / f"{kind}.yaml"
        found[spec.name] = parse_reference(kind, path.read_text(encoding="utf-8"), path=path.name)
    return found


def run_chain(inputs: Mapping[str, pa.Table]) -> Tables:
    """Run every rule in the order in which the data flows; each result is conformed to its table."""
    t: Tables = dict(inputs)

    def store(spec: TableSpec, rows: list[dict[str, Any]]) -> None:
        t[spec.name] = conform(spec, rows)

    def pick(prefix: str, *names: str) -> Tables:
        return {name: t[f"{prefix}_{name}"] for name in names}

    store(norm.NORM_PROJECTS, projects.normalize_projects(t["raw_asana_projects"], zone=ZONE))
    store(norm.NORM_PROJECT_LINKS, projects.link_projects(t["norm_projects"], t["ref_brands"], t["ref_clients"]))
    store(
        norm.NORM_TASKS,
        tasks.normalize_tasks(
            t["raw_asana_tasks"],
            users=t["raw_asana_users"],
            zone=ZONE,
            **pick("norm", "projects"),
            **pick("ref", "team", "lanes"),
        ),
    )
    store(
        norm.NORM_TASK_LINKS,
        tasks.link_tasks(
            t["norm_tasks"], **pick("norm", "projects", "project_links"), **pick("ref", "brands", "clients")
        ),
    )
    store(norm.NORM_MESSAGES, messages.normalize_messages(t["raw_gmail_messages"], org_domains=DOMAINS, zone=ZONE))
    store(
        norm.NORM_MESSAGE_LINKS,
        message_links.link_messages(
            t["norm_messages"], identities=t["ref_client_identities"], **pick("ref", "clients", "brands")
        ),
    )
    store(
        norm.NORM_MEETINGS,
        meetings.normalize_meetings(t["raw_calendar_events"], as_of=AS_OF, org_domains=DOMAINS, zone=ZONE),
    )
    store(norm.NORM_INVOICES, invoices.normalize_invoices(t["raw_xero_invoices"], as_of=AS_OF))
    store(norm.NORM_INVOICE_LINKS, invoices.link_invoices(t["norm_invoices"], t["ref_clients"]))
    links = ("projects", "project_links", "tasks", "task_links", "messages", "invoices", "invoice_links")
    store(norm.NORM_GATES, gates.evaluate_gates(**pick("norm", *links), **pick("ref", "brands", "clients", "lanes")))
    store(
        truth.TRUTH_TIME_BLOCKS,
        time_blocks.plan_time_blocks(
            t["norm_tasks"], as_of=AS_OF, **pick("norm", "meetings"), **pick("ref", "team", "lanes")
        ),
    )
    store(
        truth.TRUTH_CAPACITY,
        capacity.measure_capacity(t["truth_time_blocks"], tasks=t["norm_tasks"], lanes=t["ref_lanes"], as_of=AS_OF),
    )
    store(
        truth.TRUTH_COMMITMENTS,
        commitments.find_commitments(
            t["norm_messages"], as_of=AS_OF, org_domains=DOMAINS, **pick("norm", "message_links", "tasks", "task_links")
        ),
    )
    facts = ("tasks", "task_links", "invoices", "invoice_links", "messages", "message_links")
    store(
        truth.TRUTH_CLIENT_HEALTH,
        client_health.score_clients(
            t["ref_clients"], commitments=t["truth_commitments"], as_of=AS_OF, zone=ZONE, **pick("norm", *facts)
        ),
    )
    seen = ("gates", "projects", "project_links", "tasks", "invoices", "invoice_links", "messages", "message_links")
    store(
        SNAPSHOT_AGENCY,
        build_snapshot(
            clients=t["ref_clients"],
            sources={"asana": {"status": "fresh", "as_of_cycle": None}},
            as_of=AS_OF,
            **pick("norm", *seen),
            **pick("truth", "client_health", "commitments", "capacity"),
        ),
    )
    store(
        NOTIFY_DELIVERIES,
        plan_messages(
            t["snapshot_agency"],
            t["truth_commitments"],
            [],
            as_of=AS_OF,
            now=NOW,
            zone=ZONE,
            cycle_key="2026-11-22-07:45",
        ),
    )
    return t


@pytest.fixture(scope="module")
def inputs() -> Tables:
    return raw_tables()


@pytest.fixture(scope="module")
def outputs(inputs: Tables) -> Tables:
    return run_chain(inputs)


def test_every_table_has_rows(outputs: Tables) -> None:
    assert [name for name, table in outputs.items() if table.num_rows == 0] == []


def test_our_own_links_never_contradict_the_tables(outputs: Tables) -> None:
    passed = {row["gate"]: row["is_passed"] for row in outputs["norm_gates"].to_pylist()}

    assert passed["data_integrity"]
    assert passed["project_brand_consistency"]
    assert passed["internal_project_client_null"]


def test_the_order_of_raw_rows_changes_nothing(inputs: Tables, outputs: Tables) -> None:
    backwards = {name: table.take(list(range(table.num_rows))[::-1]) for name, table in inputs.items()}

    again = run_chain(backwards)

    assert [name for name in outputs if name not in inputs and not again[name].equals(outputs[name])] == []


def test_the_text_of_the_snapshot_names_every_section(outputs: Tables) -> None:
    text = render_text(outputs["snapshot_agency"].to_pylist())

    for section in ("TRUST", "EXCEPTIONS", "CLIENTS", "DELIVERY", "CASH", "COMMITMENTS", "MESSAGES", "CAPACITY"):
        assert section in text
