"""Random damage to a store behind the engine's back, each undone after `verify` has looked at it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError as ConstraintError

from ao_pipeline.adapters.state.catalog import ASSET_HEAD, BUNDLE, BUNDLE_PAYLOAD
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.adapters.state.verify import Finding, verify_asset
from ao_pipeline.bundles.schema import TableSpec

HEAD_COLUMNS: Final = ("seq", "seal", "state_hash", "row_count", "cursor", "computed_cycle", "layout")
"""What a head says about the state; its fencing token is a counter that means nothing once a commit is over."""


class ImpossibleError(Exception):
    """This damage cannot be done here: a constraint of the database forbids it."""


@dataclass
class Tamperer:
    """Damages one asset's table, chain or head in ways drawn from a seed."""

    store: StateStore
    spec: TableSpec
    random: random.Random

    def try_one(self, kind: str | None = None) -> tuple[str, list[Finding]]:
        """Damage something, verify, undo. Returns what was done and what was found."""
        while True:
            with self.store.database.write() as connection:
                try:
                    done = getattr(self, kind or self.random.choice(KINDS))(connection)
                except (ConstraintError, ImpossibleError):
                    connection.rollback()
                    continue
                findings = verify_asset(connection, self.store.tables, self.spec)
                connection.rollback()
                return done, findings

    def flip_header(self, connection: sa.Connection) -> str:
        """Change one bit or one character of one header column."""
        return self.flip_column(connection, self.random.choice([column.name for column in BUNDLE.columns]))

    def flip_column(self, connection: sa.Connection, name: str) -> str:
        """Change one bit or one character of a given header column of some bundle."""
        bundle = self._bundle(connection)
        changed = self._other(bundle[name])
        where = sa.and_(BUNDLE.c.asset == bundle["asset"], BUNDLE.c.seq == bundle["seq"])
        connection.execute(BUNDLE.update().where(where).values({name: changed}))
        return f"bundle {bundle['seq']}: {name} {bundle[name]!r} -> {changed!r}"

    def flip_payload(self, connection: sa.Connection) -> str:
        """Turn one bit of a payload."""
        rows = connection.execute(sa.select(BUNDLE_PAYLOAD)).all()
        chosen = self.random.choice(sorted(rows))
        blob = bytearray(chosen.payload)
        at = self.random.randrange(len(blob))
        blob[at] ^= 1 << self.random.randrange(8)
        where = BUNDLE_PAYLOAD.c.bundle_id == chosen.bundle_id
        connection.execute(BUNDLE_PAYLOAD.update().where(where).values(payload=bytes(blob)))
        return f"payload {chosen.bundle_id}: byte {at}"

    def drop_payload(self, connection: sa.Connection) -> str:
        """Lose a payload."""
        chosen = self.random.choice(sorted(connection.execute(sa.select(BUNDLE_PAYLOAD.c.bundle_id)).scalars()))
        connection.execute(BUNDLE_PAYLOAD.delete().where(BUNDLE_PAYLOAD.c.bundle_id == chosen))
        return f"payload {chosen} dropped"

    def drop_bundles(self, connection: sa.Connection) -> str:
        """Lose one to three bundles in a row, the oldest and the newest included."""
        first = self._bundle(connection)["seq"]
        last = first + self.random.randrange(3)
        connection.execute(BUNDLE.delete().where(BUNDLE.c.asset == self.spec.asset, BUNDLE.c.seq.between(first, last)))
        return f"bundles {first} to {last} dropped"

    def duplicate_bundle(self, connection: sa.Connection) -> str:
        """Put a copy of a bundle at the chain's end or into a gap before its start."""
        bundle = self._bundle(connection)
        seq = self.random.choice([0, self._newest(connection) + 1])
        copy = bundle | {
            "seq": seq,
            "bundle_id": self._other(bundle["bundle_id"]),
            "intent": bundle["intent"] + " again",
        }
        connection.execute(BUNDLE.insert().values(copy))
        return f"bundle {bundle['seq']} copied to {seq}"

    def reorder_bundles(self, connection: sa.Connection) -> str:
        """Let two bundles change places."""
        of_asset = BUNDLE.c.asset == self.spec.asset
        stored = sorted(connection.execute(sa.select(BUNDLE.c.seq).where(of_asset)).scalars())
        if len(stored) < 2:
            raise ImpossibleError
        one, other = self.random.sample(stored, 2)
        for old, new in ((one, -1), (other, one), (-1, other)):
            connection.execute(
                BUNDLE.update().where(BUNDLE.c.asset == self.spec.asset, BUNDLE.c.seq == old).values(seq=new)
            )
        return f"bundles {one} and {other} swapped"

    def flip_head(self, connection: sa.Connection) -> str:
        """Change one bit or one character of what the head says."""
        name = self.random.choice(HEAD_COLUMNS)
        head = connection.execute(sa.select(ASSET_HEAD).where(ASSET_HEAD.c.asset == self.spec.asset)).one()._mapping
        changed = self._other(head[name])
        connection.execute(ASSET_HEAD.update().where(ASSET_HEAD.c.asset == self.spec.asset).values({name: changed}))
        return f"head: {name} {head[name]!r} -> {changed!r}"

    def edit_row(self, connection: sa.Connection) -> str:
        """Change one cell of one row."""
        number = self._row(connection)
        name = self.random.choice(["note", "amount_minor", "number"])
        table = sa.table(self.spec.name, sa.column("number"), sa.column(name))
        old = connection.execute(sa.select(table.c[name]).where(table.c.number == number)).scalars().first()
        connection.execute(
            table.update()
            .where(table.c.number == number)
            .values({name: self._other("" if name == "note" and old is None else old or 0)})
        )
        return f"row {number}: {name}"

    def delete_row(self, connection: sa.Connection) -> str:
        """Lose a row."""
        number = self._row(connection)
        table = sa.table(self.spec.name, sa.column("number"))
        connection.execute(table.delete().where(table.c.number == number))
        return f"row {number} deleted"

    def add_row(self, connection: sa.Connection) -> str:
        """Add a row that nobody committed."""
        table = sa.table(self.spec.name, sa.column("name"), sa.column("number"))
        number = self.random.randrange(10**6, 10**9)
        connection.execute(table.insert().values(name="added", number=number))
        return f"row {number} added"

    def _bundle(self, connection: sa.Connection) -> dict[str, Any]:
        rows = connection.execute(
            sa.select(BUNDLE).where(BUNDLE.c.asset == self.spec.asset).order_by(BUNDLE.c.seq)
        ).all()
        return dict(self.random.choice(rows)._mapping)

    def _newest(self, connection: sa.Connection) -> int:
        query = sa.select(sa.func.max(BUNDLE.c.seq)).where(BUNDLE.c.asset == self.spec.asset)
        return int(connection.execute(query).scalar_one())

    def _row(self, connection: sa.Connection) -> int:
        table = sa.table(self.spec.name, sa.column("number"))
        numbers = sorted(connection.execute(sa.select(table.c.number)).scalars())
        if not numbers:
            raise ImpossibleError
        return int(self.random.choice(numbers))

    def _other(self, value: Any) -> Any:
        """Return a value of the same type that differs in one bit, one character or one more character."""
        if isinstance(value, int):
            return value ^ (1 << self.random.randrange(31))
        if not value or self.random.random() < 0.1:
            return value + "x"
        at = self.random.randrange(len(value))
        swapped = chr(ord(value[at]) ^ (1 << self.random.randrange(3)))
        return value[:at] + swapped + value[at + 1 :]


KINDS: Final = (
    "flip_header",
    "flip_header",
    "flip_payload",
    "drop_payload",
    "drop_bundles",
    "duplicate_bundle",
    "reorder_bundles",
    "flip_head",
    "edit_row",
    "delete_row",
    "add_row",
)
