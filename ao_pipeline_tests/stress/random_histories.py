"""Random histories drawn from a seed: `run_history` drives one, `run_histories` many, each replayable by its number."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, Final

from ao_pipeline_tests.stress.histories import History
from ao_pipeline_tests.stress.tables import EVERY_TYPE, Row, row

STEPS_PER_HISTORY: Final = 12
NOTES: Final = ["", "x", None, "مرحبا", '"\\.\n', "\ufeff"]
RATIOS: Final = [None, 0.0, -0.0, float("nan"), float("inf"), 0.1]
AMOUNTS: Final = [None, 0, -(2**63)]
CURSORS: Final[list[dict[str, Any] | None]] = [None, {}, {"page": 1}, {"page": 2}]


def random_rows(draw: random.Random) -> list[Row]:
    """Return up to six rows over few keys."""
    numbers = draw.sample(range(8), draw.randrange(7))
    cells: list[tuple[str, Sequence[Any]]] = [("note", NOTES), ("ratio", RATIOS), ("amount_minor", AMOUNTS)]
    return [row(EVERY_TYPE, f"k{n % 3}", n, **{name: draw.choice(values) for name, values in cells}) for n in numbers]


def random_where(draw: random.Random) -> tuple[str, Any] | None:
    """Return a condition on a row, or none."""
    return draw.choice([None, None, ("name", f"k{draw.randrange(3)}"), ("note", draw.choice(["x", None]))])


def run_history(history: History, draw: random.Random, *, steps: int = STEPS_PER_HISTORY) -> None:
    """Drive one random history."""
    for _ in range(steps):
        draw.choice(_steps(history, draw))()
    history.finish()


def _steps(history: History, draw: random.Random) -> list[Callable[[], None]]:
    def full() -> None:
        history.commit_full(random_rows(draw), draw.choice(CURSORS))

    def partial() -> None:
        history.commit_partial(random_rows(draw), random_rows(draw), draw.choice(CURSORS))

    def revert() -> None:
        history.revert(draw.randrange(4))

    def undo_rows() -> None:
        history.undo_rows(draw.randrange(20), random_where(draw), force=draw.random() < 0.3)

    return [
        full,
        partial,
        partial,
        history.commit_nothing,
        lambda: history.recompute(random_rows(draw), draw.randrange(4)),
        lambda: history.catch_up(random_rows(draw), draw.randrange(3)),
        lambda: history.retry(draw.randrange(20)),
        history.next_cycle,
        history.next_cycle,
        revert,
        revert,
        undo_rows,
        undo_rows,
        lambda: history.prune(draw.randrange(4)),
    ]
