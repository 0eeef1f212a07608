"""Circuit breakers between cycles: whom a cycle leaves out, what a cycle tells them, and how Dagster's timeline shows it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ao_pipeline import clock
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.bundles.header import BundleHeader
from ao_pipeline.collect.cadence import CADENCE
from ao_pipeline.collect.tables import RAW_TABLES
from ao_pipeline.cycle import Cycle
from ao_pipeline.defs.origin import UPSTREAM, source_of_asset
from ao_pipeline.errors import TransientError
from ao_pipeline.resilience.breaker import ask, fold
from ao_pipeline.resilience.breaker_state import BreakerEvent, BreakerState, EventKind, Phase
from ao_pipeline.resilience.evidence import SOURCE_PREFIX, Call, Outcome, judge_jobs, judge_sources

SOURCES: Final[Mapping[str, str]] = {spec.asset: source_of_asset(spec.asset) for spec in RAW_TABLES}
"""The upstream of each raw asset."""


@dataclass(frozen=True)
class Admission:
    """What a cycle may run.

    Attributes:
        left_out: The breaker that keeps each other asset out.
        probes: Assets that are being tried.
        trouble: Class of the error that kept the breakers from being asked; then everything may run.
    """

    assets: tuple[str, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)
    probes: tuple[str, ...] = ()
    trouble: str = ""


def breakers_of(asset: str) -> list[str]:
    """Return the breakers that an asset has to pass: its source's, if it has one, and its own."""
    return [SOURCE_PREFIX + SOURCES[asset], asset] if asset in SOURCES else [asset]


def admit(store: StateStore, due: Sequence[str], *, as_of: Mapping[str, str], cycle: Cycle, holder: str) -> Admission:
    """Leave out what a breaker does not let through; of a source that is being probed, let exactly one asset pass.

    Args:
        store: Holds the breakers. One read when all are closed; a probe's token is taken here, before the run is asked for.
        due: Assets that the cycle would run.
        as_of: The cycle that each asset's state is of: the stalest one probes for its source, so that they take turns.
        cycle: The newest one of the run.
        holder: Takes the probes: the run's key, so that the same request asked again gets the same answer.
    """
    try:
        return _admit(store, due, as_of=as_of, cycle=cycle, holder=holder)
    except Exception as trouble:  # noqa: BLE001  # What protects the cycle may not stop it; the run's tag says that it did not work.
        return Admission(tuple(due), trouble=type(trouble).__name__)


def _admit(store: StateStore, due: Sequence[str], *, as_of: Mapping[str, str], cycle: Cycle, holder: str) -> Admission:
    states = {item.name: item for item in store.breakers.all() if item.state is not Phase.CLOSED}
    if not states:
        return Admission(tuple(due))
    admitted, probes, left_out = set(due), [], {}
    probed: set[str] = set()
    for asset in sorted(due, key=lambda asset: _as_probe(asset, as_of)):
        barriers = [name for name in breakers_of(asset) if name in states]
        if not barriers:
            continue
        source = next((name for name in barriers if name.startswith(SOURCE_PREFIX)), "")
        if source not in probed and _passes(store, [states[name] for name in barriers], cycle=cycle, holder=holder):
            probed |= {source} - {""}
            probes.append(asset)
        else:
            admitted.discard(asset)
            left_out[asset] = barriers[0]
    return Admission(tuple(asset for asset in due if asset in admitted), dict(sorted(left_out.items())), tuple(probes))


@dataclass(frozen=True)
class Told:
    """What a cycle told the breakers, and where they stood before and after."""

    outcomes: Mapping[str, Outcome]
    before: Sequence[BreakerState]
    after: Sequence[BreakerState]
    trouble: str = ""

    def as_report(self, missing: Iterable[str]) -> dict[str, Any]:
        """Return what the cycle's report says: which breakers are not closed, and which of the missing assets one kept out."""
        blocking = {item.name for item in self.before if item.state is not Phase.CLOSED}
        barriers = {asset: next((name for name in breakers_of(asset) if name in blocking), None) for asset in missing}
        report: dict[str, Any] = {
            "breakers": {item.name: item.state.value for item in self.after if item.state is not Phase.CLOSED},
            "left_out": {asset: name for asset, name in barriers.items() if name and asset not in self.outcomes},
        }
        return report | ({"trouble": f"circuit breakers were not told: {self.trouble}"} if self.trouble else {})


def tell_breakers(store: StateStore, cycle: Cycle, *, runs: Collection[str], headers: Iterable[BundleHeader]) -> Told:
    """Tell the breakers how the cycle went for each job and source that was attempted.

    Idempotent: a cycle's outcome counts once for each breaker, however often this is called. Nothing is written while all is well.

    Args:
        store: Holds failures and breakers: two small reads.
        cycle: The newest one of the runs.
        runs: Root runs whose work makes up the cycle.
        headers: What they committed.

    Raises:
        TransientError: The store is away. Nothing was told; the same call later tells it.
    """
    before = store.breakers.all()
    try:
        outcomes, events = _judge(store, cycle, runs, headers, before)
        if not events:
            return Told(outcomes, before, before)
        store.breakers.record(events)
        return Told(outcomes, before, store.breakers.all())
    except TransientError:
        raise
    except Exception as trouble:  # noqa: BLE001  # A bug in what only protects the cycle may not keep it from being closed.
        return Told({}, before, before, type(trouble).__name__)


def _judge(
    store: StateStore,
    cycle: Cycle,
    runs: Collection[str],
    headers: Iterable[BundleHeader],
    before: Sequence[BreakerState],
) -> tuple[dict[str, Outcome], dict[str, BreakerEvent]]:
    """Return every outcome of the cycle, and the events among them that have an effect."""
    calls = _calls(headers)
    failures = [item for item in store.failures.of_cycle(cycle, runs) if item.asset in store.specs]
    jobs = judge_jobs(calls, failures)
    outcomes = jobs | judge_sources(jobs, calls, SOURCES)
    at_us = clock.to_micros(cycle.end)
    states = {item.name: item for item in before}
    over = {item.name for item in before if item.probe_holder and item.probe_at_us == at_us} - outcomes.keys()
    # A probe that left no trace is over as well: its token is given back.
    told = outcomes | {name: Outcome(name, EventKind.INCONCLUSIVE) for name in over}
    events: dict[str, BreakerEvent] = {}
    for name, outcome in told.items():
        event = BreakerEvent(outcome.kind, at_us, cycle=cycle.key, is_slow=outcome.is_slow, reason=outcome.reason)
        state = states.get(name, BreakerState(name))
        if fold(state, event) is not state:
            events[name] = event
    return outcomes, events


def _as_probe(asset: str, as_of: Mapping[str, str]) -> tuple[str, int, str]:
    """Order assets by how good a probe they are: what is stalest, is wanted most often; by name at last."""
    return as_of.get(asset, ""), CADENCE.interval_minutes.get(asset, 0), asset


def _passes(store: StateStore, barriers: Sequence[BreakerState], *, cycle: Cycle, holder: str) -> bool:
    at_us = clock.to_micros(cycle.end)
    answers = [ask(item, at_us=at_us, holder=holder, cycle=cycle.key) for item in barriers]
    if not any(answer.event for answer in answers):
        return all(answer.passes for answer in answers)
    return store.breakers.take_probes([item.name for item in barriers], at_us=at_us, holder=holder, cycle=cycle.key)


def _calls(headers: Iterable[BundleHeader]) -> list[Call]:
    """Return what the bundles say of their jobs; one that was collected without a single request reached no upstream."""
    durations: dict[str, int] = {}
    silent: dict[str, bool] = {}
    for header in headers:
        durations[header.asset] = durations.get(header.asset, 0) + header.duration_ms
        stats = json.loads(header.stats or "{}")
        # Files ask for nothing either, and are what stands for the source: to have read them is an answer.
        is_silent = stats.get("requests") == 0 and stats.get("origin", UPSTREAM) == UPSTREAM
        silent[header.asset] = silent.get(header.asset, True) and is_silent
    return [Call(asset, ms, reached_upstream=not silent[asset]) for asset, ms in durations.items()]
