"""A source that really shrank fails until a person says so, and goes on from there without another word."""

from __future__ import annotations

from ao_pipeline.adapters.state.acceptance import accept_drop, is_drop_accepted
from ao_pipeline_tests.pipeline.plant import SECOND, THIRD, Plant, errors_of

USERS = "raw/asana_users"


def test_an_accepted_drop_is_committed_by_the_next_cycle(plant: Plant) -> None:
    for row in plant.box.truth("raw_asana_users")[1:]:
        plant.box.mutate("user", "delete", key=row["object"]["gid"])
    refused = plant.cycle(SECOND)
    with plant.store() as store:
        rows_before = store.read(USERS).num_rows
        accept_drop(store, USERS, actor="operator:ann", reason="they left")

    accepted = plant.cycle(THIRD)

    assert "ao accept-volume raw_asana_users" in errors_of(refused)[USERS]
    assert USERS not in errors_of(accepted)
    with plant.store() as store:
        assert rows_before > 2
        assert store.read(USERS).num_rows == 1
        assert not is_drop_accepted(store, USERS)
