"""One change to a store, made again and again until its bundle is there; parent and child of a crash test agree on all of it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, Final

from ao_pipeline.adapters.state.revert_rows import RowReverter
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.cycle import Cycle
from ao_pipeline_tests.stress.histories import FIRST, commit, intent
from ao_pipeline_tests.stress.model import COMPUTED, Model, changed_keys
from ao_pipeline_tests.stress.tables import EVERY_TYPE, Row, key_of, row

KINDS: Final = ("full", "partial", "revert", "undo", "prune")
KEPT_CYCLES: Final = 3
"""Computed cycles that a pruning job keeps: enough for reverts, few enough for verifying the chain to stay quick."""


@dataclass(frozen=True)
class Job:
    """One commit, revert or pruning. Everything about it follows from these values.

    Attributes:
        target: Cycle to return to or to keep from, as a number; or the bundle to take back.
        computed: The newest computed cycle when the job was made, as a number.
    """

    seed: int
    number: int
    kind: str
    target: int = 0
    computed: int = 0

    @classmethod
    def make(cls, seed: int, number: int, kind: str, model: Model) -> Job:
        """Choose a job that has something to do on this model."""
        computed = [past for past in model.kept if past.kind == COMPUTED]
        cycles = sorted({_number(past.cycle) for past in computed})
        newest = cycles[-1] if cycles else 0
        match kind:
            case "revert":
                return cls(seed, number, kind, cycles[-2], newest)
            case "prune":
                return cls(seed, number, kind, cycles[-min(KEPT_CYCLES, len(cycles))], newest)
            case "undo":
                changed = [past for past in model.kept if changed_keys(model.before(past), past.rows)]
                possible = [p for p in changed[-3:] if changed_keys(model.rows, _undone(model, p.seq))]
                return cls(seed, number, kind, possible[0].seq, newest)
        return cls(seed, number, kind, 0, newest)

    @property
    def name(self) -> str:
        """The intent, the same in every attempt."""
        return f"job:{self.number}"

    def rows(self) -> list[Row]:
        """Rows to commit."""
        draw = random.Random(f"{self.seed}/{self.number}")
        numbers = draw.sample(range(9), draw.randrange(1, 6))
        kept = row(EVERY_TYPE, "every", 99, amount_minor=self.number)
        cells: dict[str, list[Any]] = {"note": ["", "x", None], "ratio": [0.5, float("nan"), None]}
        return [
            kept,
            *(
                row(EVERY_TYPE, f"k{n}", n, **{name: draw.choice(found) for name, found in cells.items()})
                for n in numbers
            ),
        ]

    def gone(self) -> list[Row]:
        """Rows to remove; none that are wanted."""
        wanted = {key_of(EVERY_TYPE, values) for values in self.rows()}
        return [row(EVERY_TYPE, f"k{n}", n) for n in range(0, 9, 4) if (f"k{n}", n) not in wanted]

    def run(self, store: StateStore) -> bool:
        """Do it; tell whether nothing was left to do."""
        match self.kind:
            case "revert":
                return store.revert(intent(EVERY_TYPE, FIRST.shift(self.target), self.name)).is_replay
            case "undo":
                bundle = next(found for found in store.bundles(asset=EVERY_TYPE.asset) if found.seq == self.target)
                wish = intent(EVERY_TYPE, FIRST.shift(self.computed), self.name)
                return RowReverter.of(store).apply(wish, bundle).receipt.is_replay
            case "prune":
                return store.prune(EVERY_TYPE.asset, keep_from=FIRST.shift(self.target)).header is None
        gone = self.gone() if self.kind == "partial" else None
        options: dict[str, Any] = {"name": self.name, "is_full": gone is None, "deleted": gone}
        cursor = {"job": self.number}
        return commit(store, EVERY_TYPE, FIRST.shift(self.number), self.rows(), cursor=cursor, **options).is_replay

    def apply(self, model: Model) -> Model:
        """Return the model as it is after the job."""
        after = model.copy()
        cycle, kind, name = FIRST.shift(self.computed), "revert", self.name
        match self.kind:
            case "revert":
                cycle = FIRST.shift(self.target)
                state = model.state_of(cycle)
                assert state is not None
                after.rows, after.cursor = dict(state.rows), state.cursor
            case "undo":
                after.rows = _undone(model, self.target)
            case "prune":
                after.pruned = model.prunable(FIRST.shift(self.target))
                after.window = model.window_without(after.pruned)
                kind, name = "retention", f"prune:{after.pruned}"
            case _:
                cycle, kind = FIRST.shift(self.number), COMPUTED
                if self.kind == "full":
                    after.full(self.rows())
                else:
                    after.partial(self.rows(), self.gone())
                after.cursor = {"job": self.number}
        after.remember(cycle, kind, name)
        return after


def _undone(model: Model, seq: int) -> dict[Any, Row]:
    return model.undoing(model.past[seq - 1], lambda _row: True, force=False).rows


def _number(cycle: Cycle) -> int:
    return int((cycle.start - FIRST.start) / (FIRST.end - FIRST.start))
