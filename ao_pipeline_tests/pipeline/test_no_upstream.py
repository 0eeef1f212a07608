"""Every upstream is away. This one test waits for the step's retry, 30 seconds after the first try."""

from __future__ import annotations

from ao_pipeline.adapters.state.inventory import ALL_SPECS
from ao_pipeline_tests.pipeline.plant import SECOND, THIRD, Plant, errors_of


def test_a_cycle_without_any_upstream_still_publishes_and_the_next_one_heals(plant: Plant) -> None:
    shorter = plant.with_environment(AO_SANDBOX_PORT="9", AO_CALL_ATTEMPTS="1", AO_CONNECT_TIMEOUT_SECONDS="0.5")
    with shorter as away:
        outcome = away.cycle(SECOND)

        raw = {spec.asset for spec in ALL_SPECS if spec.asset.startswith("raw/")}
        errors = errors_of(outcome)
        assert set(errors) == raw
        assert [a for a, text in errors.items() if a.split("/")[1].split("_")[0] not in text.lower()] == []
        assert outcome.status == "degraded"
        assert set(away.trust()["stale_sources"]) == {asset.split("/")[1].split("_")[0] for asset in raw}

    assert plant.cycle(THIRD).status == "success"
