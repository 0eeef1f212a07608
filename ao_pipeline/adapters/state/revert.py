"""Take changes back: compute the undo, then commit it as a new bundle that must come out as the recorded state."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pyarrow as pa

from ao_pipeline.adapters.state import history
from ao_pipeline.adapters.state.commit import Committer
from ao_pipeline.adapters.state.database import Database
from ao_pipeline.adapters.state.model import PREVIEW_ROWS, Head, Intent, Receipt, RevertPlan
from ao_pipeline.adapters.state.tables_io import TablesIo
from ao_pipeline.bundles import payload as payloads
from ao_pipeline.bundles.changes import Change, change_set
from ao_pipeline.bundles.hashing import key_digests
from ao_pipeline.bundles.header import BundleHeader, BundleKind, layout_of, only_appends
from ao_pipeline.bundles.netting import Undo, net_undo
from ao_pipeline.bundles.preview import preview_changes
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.cycle import Cycle
from ao_pipeline.errors import ContractError, UnknownNameError


class Reverter:
    """Restores recorded states through the committer."""

    def __init__(self, database: Database, tables: TablesIo, committer: Committer) -> None:
        self._database = database
        self._tables = tables
        self._committer = committer

    def plan(self, spec: TableSpec, to: Cycle) -> RevertPlan:
        """Return what restoring the state of `to` would change."""
        target, undo = self._undo(spec, to)
        with self._database.read() as connection:
            keys = pa.concat_tables([undo.restore.select(list(spec.key_names)), undo.remove])
            stored = payloads.hashed(spec, self._tables.read_by_key(connection, spec, keys))
        wanted = payloads.hashed(spec, undo.restore)
        changes = change_set(stored, wanted, key_digests(spec, undo.remove))
        return RevertPlan(
            target,
            len(changes.inserted),
            len(changes.updated_after),
            len(changes.deleted),
            preview_changes(spec, changes, limit=PREVIEW_ROWS),
        )

    def restore(self, intent: Intent) -> Receipt:
        """Restore the state that was recorded for `intent.cycle`, cursor included.

        Raises:
            UnknownNameError: No such state, or it lies before the undo window.
            IntegrityError: The chain is damaged or the outcome is not the recorded state. Nothing was changed.
        """
        spec = intent.spec
        with self._database.read() as connection:
            target = history.bundle_for_cycle(connection, spec.asset, intent.cycle)
        writer = self._committer.begin(
            replace(
                intent,
                kind=BundleKind.REVERT,
                target_id=target.bundle_id,
                state_cycle=target.cycle,
                code_version=target.code_version,
                inputs=target.inputs,
            )
        )
        if writer.found is not None:
            return Receipt(writer.found, is_replay=True)
        target, undo = self._undo(spec, intent.cycle)
        change = Change(
            rows=undo.restore,
            is_full=False,
            deleted=undo.remove,
            cursor=_cursor(target),
            stats={"restored_cycle": target.cycle, "restored_seq": target.seq},
        )
        return self._committer.commit(writer, change, expected_state_hash=target.state_hash_after)

    def _undo(self, spec: TableSpec, to: Cycle) -> tuple[BundleHeader, Undo]:
        with self._database.read() as connection:
            head = history.read_head(connection, spec.asset)
            if head is None:
                raise UnknownNameError(f"{spec.asset} has no recorded state to return to")
            target = history.bundle_for_cycle(connection, spec.asset, to)
            _refuse_lost_columns(spec, head)
            return target, net_undo(spec, history.changes_since(connection, spec, after=target, head=head))


def _cursor(target: BundleHeader) -> dict[str, Any]:
    return dict(json.loads(target.cursor_after)) if target.cursor_after else {}


def _refuse_lost_columns(spec: TableSpec, head: Head) -> None:
    """Guard against a migration that no bundle has taken note of yet: recorded rows would not fit the table."""
    if not only_appends(head.layout, layout_of(spec)):
        raise ContractError(
            f"{spec.asset}: columns of its table were changed or dropped since bundle {head.seq}; states recorded before "
            "that cannot be restored into the table as it is now"
        )
