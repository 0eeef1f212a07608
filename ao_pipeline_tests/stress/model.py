"""What a store must look like, by brute force: a dictionary of rows and a list of remembered states.

It shares no code with the engine but the row hash, which `docs/hash-format.md` and its vectors prove on their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ao_pipeline.bundles.canonical import conform
from ao_pipeline.bundles.hashing import StateHash, row_digests
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.cycle import Cycle
from ao_pipeline_tests.stress.tables import Row, comparable, key_of

Key = tuple[Any, ...]
Rows = dict[Key, Row]
COMPUTED = "materialize"


@dataclass(frozen=True)
class Remembered:
    """A state as the model remembers it; `first` and `cycle` differ after a catch-up."""

    seq: int
    first: Cycle
    cycle: Cycle
    kind: str
    name: str
    rows: Rows
    cursor: dict[str, Any] | None


@dataclass(frozen=True)
class Undoing:
    """What taking rows of one bundle back must do: how many are chosen, done already, and which changed since, by whom."""

    selected: int
    already: int
    conflicts: dict[Key, int]
    rows: Rows


@dataclass
class Model:
    """What the store must look like. `past` keeps everything; what the store has pruned is only counted."""

    spec: TableSpec
    rows: Rows = field(default_factory=dict)
    cursor: dict[str, Any] | None = None
    past: list[Remembered] = field(default_factory=list)
    pruned: int = 0
    window: Cycle | None = None
    """Oldest cycle within reach since the last pruning; cycles before it have only what was computed for them again."""

    @property
    def kept(self) -> list[Remembered]:
        """What the store still has bundles of."""
        return self.past[self.pruned :]

    def full(self, rows: list[Row]) -> None:
        """Replace everything."""
        self.rows = {key_of(self.spec, row): row for row in rows}

    def partial(self, rows: list[Row], deleted: list[Row]) -> None:
        """Replace some, remove some."""
        gone = {key_of(self.spec, row) for row in deleted}
        kept = {key: row for key, row in self.rows.items() if key not in gone}
        self.rows = kept | {key_of(self.spec, row): row for row in rows}

    def remember(self, cycle: Cycle, kind: str, name: str, *, first: Cycle | None = None) -> None:
        """Note the state that a bundle left behind."""
        seq = len(self.past) + 1
        self.past.append(Remembered(seq, first or cycle, cycle, kind, name, dict(self.rows), self.cursor))

    def copy(self) -> Model:
        """Return a model that can go on by itself."""
        return Model(self.spec, dict(self.rows), self.cursor, list(self.past), self.pruned, self.window)

    def state_of(self, cycle: Cycle, *, is_pruned: bool = True) -> Remembered | None:
        """Return the newest computation that covers the cycle, else the newest of the newest cycle before it.

        Args:
            cycle: Whose state.
            is_pruned: Whether what was pruned is gone; without, the answer of a store that keeps everything.
        """
        computed = [past for past in (self.kept if is_pruned else self.past) if past.kind == COMPUTED]
        covering = [past for past in computed if past.first <= cycle <= past.cycle]
        if covering:
            return max(covering, key=lambda past: past.seq)
        if is_pruned and self.window is not None and cycle < self.window:
            return None
        earlier = [past for past in computed if past.first <= cycle]
        return max(earlier, key=lambda past: (past.cycle, past.seq), default=None)

    @property
    def oldest(self) -> Cycle | None:
        """Where the undo window starts."""
        return self.window or min((past.first for past in self.kept if past.kind == COMPUTED), default=None)

    @property
    def computed(self) -> Cycle | None:
        """The highest cycle that was ever computed."""
        return max((past.cycle for past in self.past if past.kind == COMPUTED), default=None)

    def prunable(self, keep_from: Cycle) -> int:
        """Return how many bundles pruning must have taken in all: the most that it may, found by trying each number.

        What is kept holds the state of `keep_from`, and every computation of a cycle that it still gives an answer for.
        """
        for pruned in range(len(self.past), self.pruned, -1):
            window = self.window_without(pruned)
            if window is None or window > keep_from:
                continue
            gone = [past for past in self.past[:pruned] if past.kind == COMPUTED]
            if all(past.cycle < window for past in gone[self._gone_before() :]):
                return pruned
        return self.pruned

    def window_without(self, pruned: int) -> Cycle | None:
        """Return where the undo window would start if this many bundles were gone; it never goes back."""
        firsts = [past.first for past in self.past[pruned:] if past.kind == COMPUTED]
        return max(min(firsts), self.window or min(firsts)) if firsts else None

    def _gone_before(self) -> int:
        return sum(past.kind == COMPUTED for past in self.past[: self.pruned])

    def before(self, past: Remembered) -> Rows:
        """Return the rows that a bundle found."""
        return self.past[past.seq - 2].rows if past.seq > 1 else {}

    def undoing(self, past: Remembered, chosen: Callable[[Row], bool], *, force: bool) -> Undoing:
        """Return what taking back the chosen rows of a bundle must do, row by row.

        Args:
            past: The bundle.
            chosen: Whether an image of a row, old or new, is among those to be taken back.
            force: Whether rows that changed since go back as well.
        """
        before, rows = self.before(past), dict(self.rows)
        selected = already = 0
        conflicts: dict[Key, int] = {}
        for key in changed_keys(before, past.rows):
            old, new, now = before.get(key), past.rows.get(key), self.rows.get(key)
            if not any(chosen(image) for image in (old, new) if image is not None):
                continue
            selected += 1
            if is_same(old, now):
                already += 1
                continue
            if not is_same(new, now):
                conflicts[key] = self._changed_last(key)
                if not force:
                    continue
            rows.pop(key, None)
            if old is not None:
                rows[key] = old
        return Undoing(selected, already, conflicts, rows)

    def _changed_last(self, key: Key) -> int:
        touching = (past for past in reversed(self.past) if not is_same(self.before(past).get(key), past.rows.get(key)))
        return next(touching).seq

    @property
    def state_hash(self) -> str:
        """The state hash computed from nothing but the model's rows."""
        return StateHash.of(row_digests(self.spec, conform(self.spec, list(self.rows.values())))).hex


def is_same(one: Row | None, other: Row | None) -> bool:
    """Tell whether two images are the same row, or both no row."""
    if one is None or other is None:
        return one is other
    return comparable(one) == comparable(other)


def changed_keys(before: Rows, after: Rows) -> list[Key]:
    """Return the keys whose rows came, changed or went."""
    return [key for key in {**before, **after} if not is_same(before.get(key), after.get(key))]


def changed_counts(before: Rows, after: Rows) -> tuple[int, int, int]:
    """Return how many rows came, changed and went."""
    changed = changed_keys(before, after)
    came = sum(key not in before for key in changed)
    went = sum(key not in after for key in changed)
    return came, len(changed) - came - went, went
