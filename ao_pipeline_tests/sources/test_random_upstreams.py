"""A few random histories of every source; `stress.upstreams` plays as many as are wanted."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from ao_pipeline_tests.sources.random_upstreams import Tally, play_block, upstream
from ao_pipeline_tests.sources.source_truth import assert_equals_truth
from ao_pipeline_tests.sources.stored_engine import PLACES, StoredEngine
from ao_pipeline_tests.sources.upstream_changes import SUBJECTS, Hand


@pytest.mark.parametrize("source", SUBJECTS)
def test_what_is_stored_equals_the_upstream_after_any_history(source: str, tmp_path: Path) -> None:
    """The histories follow each other in one world: some start from what the one before left."""
    tally = Tally()

    problems = play_block(source, range(1, 4), tally, folder=tmp_path, postgres="")

    assert problems == []
    assert tally.comparisons >= tally.histories == 3


@pytest.fixture(scope="module")
def mailboxes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoredEngine]:
    """Mailboxes that were read once."""
    folder = tmp_path_factory.mktemp("mailboxes")
    with upstream("gmail", folder, f"sqlite:///{folder / 'state.db'}") as engine:
        engine.run(engine.asset)
        yield engine


@pytest.mark.parametrize("place", PLACES)
def test_a_killed_collection_is_repeated_to_the_truth_without_a_second_bundle(
    mailboxes: StoredEngine, place: str
) -> None:
    mailboxes.box.mutate("mail", "create")
    bundles = len(mailboxes.store.bundles(asset=mailboxes.asset))

    died_at = mailboxes.crash(place, between=lambda: None)

    assert died_at == place
    assert len(mailboxes.store.bundles(asset=mailboxes.asset)) == bundles + 1
    assert_equals_truth(mailboxes, mailboxes.asset)


def test_a_crash_is_repeated_on_postgres_too(postgres_url: str, tmp_path: Path) -> None:
    problems = play_block("gtasks", range(1, 3), Tally(), folder=tmp_path, postgres=postgres_url)

    assert problems == []


@pytest.mark.parametrize("source", SUBJECTS)
def test_every_kind_of_change_finds_something_to_do(source: str, tmp_path: Path) -> None:
    """Else a history draws it and nothing happens: its proof would be empty."""
    subject = SUBJECTS[source]
    with upstream(source, tmp_path, f"sqlite:///{tmp_path / 'state.db'}") as engine:
        hand = Hand(engine, subject.asset, subject.kind, random.Random(5))

        done = {name: any(act(hand) for _ in range(5)) for name, act in subject.acts.items()}

    assert all(done.values()), done


def test_what_was_never_drawn_is_named() -> None:
    tally = Tally()
    tally.kinds.update(["create", "edit"])

    missing = tally.missing(SUBJECTS["chat"])

    assert missing[:3] == ["delete", "fault", "crash"]
    assert f"crash {PLACES[0]}" in missing
