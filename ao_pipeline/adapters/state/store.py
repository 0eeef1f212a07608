"""The state store: one object through which everything else reads and changes state."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from ao_pipeline import clock
from ao_pipeline.adapters.state import history, part, since
from ao_pipeline.adapters.state.breakers import Breakers
from ao_pipeline.adapters.state.catalog import ACCEPTANCE, HOLD, QUARANTINE
from ao_pipeline.adapters.state.commit import Committer, Probe
from ao_pipeline.adapters.state.cycles import CycleLog
from ao_pipeline.adapters.state.database import Database
from ao_pipeline.adapters.state.failures import FailureLog
from ao_pipeline.adapters.state.healing import HealingLog
from ao_pipeline.adapters.state.incidents import IncidentLog
from ao_pipeline.adapters.state.leases import Leases
from ao_pipeline.adapters.state.model import CommitStep, Head, Intent, Receipt, RevertPlan, Writer
from ao_pipeline.adapters.state.postgres_io import PostgresIo
from ao_pipeline.adapters.state.prune import Pruned, Pruner
from ao_pipeline.adapters.state.revert import Reverter
from ao_pipeline.adapters.state.sqlite_io import SqliteIo
from ao_pipeline.adapters.state.tables_io import TablesIo
from ao_pipeline.adapters.state.verify import Finding, verify_asset
from ao_pipeline.bundles.changes import Change, ChangeSet
from ao_pipeline.bundles.header import BundleHeader
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.bundles.since import Since
from ao_pipeline.cycle import Cycle
from ao_pipeline.errors import UnknownNameError


def _no_probe(_step: CommitStep) -> None:
    """Do nothing: only fault tests look into a commit."""


class StateStore:
    """Managed tables, their bundles, holds, quarantine and cycle records.

    Args:
        database: Where they live; migrated to head.
        specs: Every managed table.
        probe: Called at each step inside a commit; for fault tests.
    """

    def __init__(self, database: Database, specs: Iterable[TableSpec], *, probe: Probe = _no_probe) -> None:
        self.database = database
        self.specs: Mapping[str, TableSpec] = {spec.asset: spec for spec in specs}
        self._by_table = {spec.name: spec for spec in self.specs.values()}
        self.tables: TablesIo = SqliteIo() if database.is_sqlite else PostgresIo()
        self._committer = Committer(database, self.tables, probe)
        self._reverter = Reverter(database, self.tables, self._committer)
        self.cycles = CycleLog(database)
        self.failures = FailureLog(database)
        self.breakers = Breakers(database)
        self.incidents = IncidentLog(database)
        self.healing = HealingLog(database)
        self.leases = Leases(database)

    def spec(self, name: str) -> TableSpec:
        """Return the spec of an asset key or table name.

        Raises:
            UnknownNameError: There is no such asset.
        """
        found = self.specs.get(name) or self._by_table.get(name)
        if found is None:
            raise UnknownNameError(f"{name!r} is not an asset with a table; there are: {', '.join(sorted(self.specs))}")
        return found

    def begin(self, intent: Intent) -> Writer:
        """See `Committer.begin`."""
        return self._committer.begin(intent)

    def commit(self, writer: Writer, change: Change) -> Receipt:
        """See `Committer.commit`."""
        return self._committer.commit(writer, change)

    def plan_revert(self, spec: TableSpec, to: Cycle) -> RevertPlan:
        """See `Reverter.plan`."""
        return self._reverter.plan(spec, to)

    def revert(self, intent: Intent) -> Receipt:
        """See `Reverter.restore`."""
        return self._reverter.restore(intent)

    def prune(self, asset: str, *, keep_from: Cycle, **who: Any) -> Pruned:
        """See `Pruner.prune`."""
        return Pruner(self.database).prune(self.spec(asset), keep_from=keep_from, **who)

    def read(
        self,
        name: str,
        columns: Sequence[str] = (),
        *,
        only: Sequence[str] | None = None,
        before: part.Place | None = None,
        most: int | None = None,
    ) -> pa.Table:
        """Return the rows of a managed table, in no particular order.

        Args:
            name: Asset or table.
            columns: Returned beside the key; without any, all are.
            only: Return no other rows than those whose first column of `columns`, a text, is one of these; at most some
                thousand, of a table whose key is text.
            most, before: Return this many rows, those with the latest instants in the first column of `columns`; of those
                before a place, which is an instant and a key, when there is one.
        """
        spec = self.spec(name)
        if columns:
            spec = replace(spec, columns=tuple(column for column in spec.columns if column.name in columns))
        with self.database.read() as connection:
            if only is not None:
                keys = part.keys_where(connection, spec, columns[0], only)
            elif most is not None:
                keys = part.latest_keys(connection, spec, columns[0], before=before, most=most)
            else:
                return self.tables.read(connection, spec)
            return self.tables.read_by_key(connection, spec, keys)

    def read_keys(self, name: str) -> pa.Table:
        """Return the keys of every row of a managed table."""
        spec = self.spec(name)
        keys_only = TableSpec(asset=spec.asset, key=spec.key, columns=(), row=spec.row)
        with self.database.read() as connection:
            return self.tables.read(connection, keys_only)

    def changes_since(self, name: str, mark: str) -> Since:
        """Return where a managed table stands, and its net change since `mark`, which an earlier answer gave."""
        with self.database.read() as connection:
            return since.changes_since(connection, self.spec(name), mark)

    def head(self, asset: str) -> Head | None:
        """Return where an asset stands, None before its first bundle."""
        with self.database.read() as connection:
            return history.read_head(connection, asset)

    def heads(self) -> dict[str, Head]:
        """Return every asset's head."""
        with self.database.read() as connection:
            return history.read_heads(connection)

    def cursor(self, asset: str) -> dict[str, Any] | None:
        """Return the collector position that belongs to the stored rows."""
        head = self.head(asset)
        return None if head is None or not head.cursor else dict(json.loads(head.cursor))

    def bundles(self, *, asset: str | None = None, cycle: Cycle | None = None, limit: int = 50) -> list[BundleHeader]:
        """Return bundle headers, the newest first."""
        with self.database.read() as connection:
            return history.read_bundles(connection, asset=asset, cycle=cycle, limit=limit)

    def bundles_between(self, *, after_us: int, until_us: int, limit: int) -> list[BundleHeader]:
        """Return the headers of bundles started after one instant and up to another, the oldest first."""
        with self.database.read() as connection:
            return history.read_bundles_between(connection, after_us=after_us, until_us=until_us, limit=limit)

    def bundle(self, name: str) -> BundleHeader:
        """Return the bundle whose id starts with `name`."""
        with self.database.read() as connection:
            return history.find_bundle(connection, name)

    def changes(self, header: BundleHeader) -> ChangeSet:
        """Return the rows that a bundle changed."""
        with self.database.read() as connection:
            return history.read_changes(connection, self.spec(header.asset), header)

    def verify(self, asset: str, *, progress: Callable[[str], None] | None = None) -> list[Finding]:
        """Return what is wrong with an asset's table and chain; empty when all is well."""
        spec = self.spec(asset)
        with self.database.read() as connection:
            return verify_asset(connection, self.tables, spec)

    def holds(self) -> dict[str, str]:
        """Return the reason of each hold, by asset."""
        with self.database.read() as connection:
            return {row.asset: row.reason for row in connection.execute(sa.select(HOLD).order_by(HOLD.c.asset))}

    def hold(self, asset: str, *, reason: str, actor: str) -> None:
        """Keep the asset from being computed until released. A second hold keeps the first reason."""
        self.spec(asset)
        with self.database.write() as connection:
            if connection.execute(sa.select(HOLD).where(HOLD.c.asset == asset)).first() is None:
                since = clock.to_micros(clock.utc_now())
                connection.execute(HOLD.insert().values(asset=asset, reason=reason, actor=actor, since_us=since))

    def release(self, asset: str) -> bool:
        """End a hold, and what opened the asset's breaker together with it; tell whether there was one."""
        with self.database.write() as connection:
            is_released = connection.execute(HOLD.delete().where(HOLD.c.asset == asset)).rowcount > 0
            if is_released:
                self.breakers.release_in(connection, asset)
        return is_released

    def accept_size(self, asset: str, *, actor: str) -> None:
        """Let the asset's next bundle say how many rows are usual: what people really took away is no collapse."""
        values = {"actor": actor, "since_us": clock.to_micros(clock.utc_now())}
        with self.database.write() as connection:
            head = history.read_head(connection, self.spec(asset).asset)
            connection.execute(ACCEPTANCE.delete().where(ACCEPTANCE.c.asset == asset))
            connection.execute(ACCEPTANCE.insert().values(asset=asset, seq=head.seq if head else 0, **values))

    def accepted_seq(self, asset: str) -> int:
        """Return the newest bundle that a person's word has put behind; 0 without one."""
        query = sa.select(ACCEPTANCE.c.seq).where(ACCEPTANCE.c.asset == asset)
        with self.database.read() as connection:
            return connection.execute(query).scalar_one_or_none() or 0

    def quarantine(self, *, asset: str | None = None, status: str = "open", limit: int = 50) -> list[dict[str, Any]]:
        """Return refused records, the newest first."""
        query = sa.select(QUARANTINE).where(QUARANTINE.c.status == status)
        if asset is not None:
            query = query.where(QUARANTINE.c.asset == asset)
        with self.database.read() as connection:
            rows = connection.execute(
                query.order_by(QUARANTINE.c.last_cycle.desc(), QUARANTINE.c.record_hash).limit(limit)
            )
            return [dict(row._mapping) for row in rows]

    def quarantine_counts(self) -> dict[str, int]:
        """Return the number of open refused records, by asset."""
        query = (
            sa.select(QUARANTINE.c.asset, sa.func.count())
            .where(QUARANTINE.c.status == "open")
            .group_by(QUARANTINE.c.asset)
        )
        with self.database.read() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def close(self) -> None:
        """Close the database connections."""
        self.database.close()
