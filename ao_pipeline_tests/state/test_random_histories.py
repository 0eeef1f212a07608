"""Random histories on both databases, compared with a brute-force model after every step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from ao_pipeline_tests.stress.histories import History, open_empty, wipe
from ao_pipeline_tests.stress.places import quick_folder
from ao_pipeline_tests.stress.postgres import fresh_database
from ao_pipeline_tests.stress.tables import CELLS, EVERY_TYPE, Row, key_of

KEYS = st.tuples(st.sampled_from(["a", "b", "", "ü\n"]), st.integers(0, 2))
CURSORS: st.SearchStrategy[dict[str, Any] | None] = (
    st.none() | st.just({}) | st.fixed_dictionaries({"page": st.integers(0, 3)})
)


@st.composite
def rows(draw: st.DrawFn) -> Row:
    """Draw a row from few keys and mostly NULL cells, so that histories meet the same keys and values again."""
    name, number = draw(KEYS)
    cells = {column.name: None for column in EVERY_TYPE.columns}
    chosen = draw(st.sets(st.sampled_from(EVERY_TYPE.columns), max_size=2))
    cells |= {column.name: draw(CELLS[column.type]) for column in sorted(chosen, key=lambda c: c.name)}
    return {"name": name, "number": number} | cells


PICKS = st.integers(0, 30)
CONDITIONS: st.SearchStrategy[tuple[str, Any] | None] = (
    st.none() | st.tuples(st.just("name"), st.sampled_from(["a", "b", "ü\n"])) | st.just(("note", None))
)
LISTINGS = st.lists(rows(), max_size=6, unique_by=lambda values: key_of(EVERY_TYPE, values))


def machine_on(open_history: Callable[[], History]) -> type[RuleBasedStateMachine]:
    """Return a state machine that drives the histories that `open_history` gives."""

    class Machine(RuleBasedStateMachine):
        history: History

        @initialize()
        def open(self) -> None:
            self.history = open_history()

        @rule(listing=LISTINGS, cursor=CURSORS)
        def commit_full(self, listing: list[Row], cursor: dict[str, Any] | None) -> None:
            self.history.commit_full(listing, cursor)

        @rule(changed=LISTINGS, gone=LISTINGS, cursor=CURSORS)
        def commit_partial(self, changed: list[Row], gone: list[Row], cursor: dict[str, Any] | None) -> None:
            self.history.commit_partial(changed, gone, cursor)

        @rule()
        def commit_nothing(self) -> None:
            self.history.commit_nothing()

        @rule(listing=LISTINGS, back=st.integers(0, 3))
        def recompute(self, listing: list[Row], back: int) -> None:
            self.history.recompute(listing, back)

        @rule(listing=LISTINGS, missed=st.integers(0, 3))
        def catch_up(self, listing: list[Row], missed: int) -> None:
            self.history.catch_up(listing, missed)

        @rule(pick=PICKS)
        def retry(self, pick: int) -> None:
            self.history.retry(pick)

        @rule()
        def next_cycle(self) -> None:
            self.history.next_cycle()

        @precondition(lambda self: bool(self.history.model.past))
        @rule(back=st.integers(0, 4))
        def revert(self, back: int) -> None:
            self.history.revert(back)

        @precondition(lambda self: bool(self.history.model.past))
        @rule(pick=PICKS, where=CONDITIONS, force=st.booleans())
        def undo_rows(self, pick: int, where: tuple[str, Any] | None, force: bool) -> None:
            self.history.undo_rows(pick, where, force=force)

        @precondition(lambda self: bool(self.history.model.past))
        @rule(back=st.integers(-1, 4))
        def prune(self, back: int) -> None:
            self.history.prune(back)

        def teardown(self) -> None:
            if hasattr(self, "history"):
                try:
                    self.history.finish()
                finally:
                    self.history.store.close()

    return Machine


@pytest.fixture(params=["sqlite", "postgres"])
def open_history(request: pytest.FixtureRequest) -> Iterator[Callable[[], History]]:
    """A function that opens a history on a store of its own."""
    if request.param == "sqlite":
        with quick_folder() as folder:
            numbers = iter(range(10**6))
            yield lambda: History(open_empty(f"sqlite:///{folder / f'{next(numbers)}.db'}", EVERY_TYPE), EVERY_TYPE)
        return
    with fresh_database(request.getfixturevalue("postgres_url")) as url:

        def on_postgres() -> History:
            store = open_empty(url, EVERY_TYPE)
            wipe(store)
            return History(store, EVERY_TYPE)

        yield on_postgres


def test_random_histories_agree_with_the_model(open_history: Callable[[], History]) -> None:
    run_state_machine_as_test(
        machine_on(open_history), settings=settings(max_examples=25, stateful_step_count=14, deadline=None)
    )
