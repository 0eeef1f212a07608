"""The header of the bundle that a commit is about to store, and the state that follows from it."""

from __future__ import annotations

from dataclasses import replace

from ao_pipeline import clock
from ao_pipeline.adapters.state.model import Head, Intent, Writer
from ao_pipeline.bundles import payload as payloads
from ao_pipeline.bundles.canonical import canonical_json
from ao_pipeline.bundles.changes import Change, ChangeSet
from ao_pipeline.bundles.hashing import StateHash
from ao_pipeline.bundles.header import BundleHeader, BundleKind, layout_fingerprint, layout_of


def state_after(head: Head, changes: ChangeSet) -> StateHash:
    before = StateHash.from_hex(head.state_hash)
    without = before.minus(changes.updated_before.rows).minus(changes.deleted.rows)
    return without.plus(changes.updated_after.rows).plus(changes.inserted.rows)


def make_header(
    writer: Writer,
    head: Head,
    change: Change,
    changes: ChangeSet,
    *,
    after: StateHash,
    payload: bytes,
    rows: int | None = None,
) -> BundleHeader:
    intent = writer.intent
    header = BundleHeader(
        asset=intent.spec.asset,
        seq=head.seq + 1,
        cycle=intent.cycle.key,
        first_cycle=intent.first_cycle.key,
        kind=intent.kind.value,
        intent=intent.name,
        run_id=intent.run_id,
        attempt=intent.attempt,
        code_version=intent.code_version,
        parent_seal=head.seal,
        rows_inserted=len(changes.inserted),
        rows_updated=len(changes.updated_after),
        rows_deleted=len(changes.deleted),
        row_count_after=head.row_count + len(changes.inserted) - len(changes.deleted) if rows is None else rows,
        state_hash_before=head.state_hash,
        state_hash_after=after.hex,
        payload_hash=payloads.payload_hash(payload),
        payload_bytes=len(payload),
        layout=layout_fingerprint(layout_of(intent.spec)),
        actor=intent.actor,
        reason=intent.reason,
        inputs=intent.inputs,
        cursor_before=head.cursor,
        cursor_after=_cursor_after(head, change),
        target_id=intent.target_id,
        stats=canonical_json(dict(change.stats)),
        started_at_us=writer.began_at_us,
        duration_ms=round((clock.monotonic_seconds() - writer.began_monotonic) * 1000),
    )
    return replace(header, seal=header.computed_seal())


def _cursor_after(head: Head, change: Change) -> str:
    if change.cursor is None:
        return head.cursor
    return canonical_json(dict(change.cursor)) if change.cursor else ""


def computed_cycle(head: Head, intent: Intent) -> str:
    if intent.kind is not BundleKind.MATERIALIZE:
        return head.computed_cycle
    return max(head.computed_cycle, intent.cycle.key)
