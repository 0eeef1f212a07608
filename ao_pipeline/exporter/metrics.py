"""Render one reading as Prometheus metrics. Names and label sets are a contract with `deploy/prometheus/alerts.yml`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from ao_pipeline.cycle import Cycle
from ao_pipeline.observability.health import HealthReport, HealthStatus
from ao_pipeline.observability.view import CYCLE_STATUSES, DagsterFigures, Histogram, OperationsView
from ao_pipeline.resilience.conditions import IncidentKind
from ao_pipeline.resilience.limits import source_of
from ao_pipeline.resilience.run_recovery import RECOVERY_KINDS

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

WAITING_STATUS: Final = "pending"
"""Deliveries that may still be made: a gauge, for they leave the status again. All others are final: a counter."""

FINAL_STATUSES: Final = ("sent", "dead")
"""Exported from a channel's first message on, so that the first dead one shows as an increase from 0."""

INCIDENT_KINDS: Final = tuple(kind.value for kind in IncidentKind)
"""Exported from the start, so that a first incident shows as an increase from 0."""

BREAKER_VALUES: Final = {"closed": 0, "open": 1, "half-open": 2, "half_open": 2}
BREAKER_STATES: Final = ("closed", "open", "half_open")
HEALTH_VALUES: Final = {HealthStatus.HEALTHY: 0, HealthStatus.DEGRADED: 1, HealthStatus.UNHEALTHY: 2}


@dataclass(frozen=True)
class Scrape:
    """Everything that one scrape shows. `view` is None when the store could not be read, `dagster` likewise."""

    health: HealthReport
    started_at: datetime
    read_seconds: float
    view: OperationsView | None
    dagster: DagsterFigures | None
    dagster_failures: int


def render(scrape: Scrape) -> bytes:
    """Return the Prometheus text format of a scrape."""
    registry = CollectorRegistry()
    registry.register(_Families(scrape))
    return generate_latest(registry)


class _Families(Collector):
    def __init__(self, scrape: Scrape) -> None:
        self._scrape = scrape

    def collect(self) -> Iterable[Metric]:
        scrape = self._scrape
        yield _gauge("ao_up", "1 when the state store could be read for this scrape", float(scrape.view is not None))
        yield _gauge("ao_health_status", "0 healthy, 1 degraded, 2 unhealthy", HEALTH_VALUES[scrape.health.status])
        yield _gauge("ao_exporter_start_timestamp_seconds", "When this exporter started", scrape.started_at.timestamp())
        yield _gauge("ao_state_read_seconds", "Time that reading the state store took", scrape.read_seconds)
        yield from _dagster(scrape)
        if scrape.view is not None:
            yield from _cycles(scrape.view)
            yield from _assets(scrape.view, scrape.health)
            yield from _bundles(scrape.view)
            yield from _deliveries(scrape.view)
            yield from _incidents(scrape.view)
            sizes = dict(scrape.view.db_size_bytes)
            if scrape.dagster is not None and scrape.dagster.storage_bytes is not None:
                sizes["dagster"] = scrape.dagster.storage_bytes
            yield _labelled("ao_db_size_bytes", "Size of a store on disk", "store", sizes)
            yield from _breakers(scrape.view)
            yield from _engine(scrape.health)
            yield _recoveries(scrape.view)


def _engine(health: HealthReport) -> Iterator[Metric]:
    if health.engine:
        yield _gauge(
            "ao_engine_is_active",
            "1 when this machine's engine holds the lease",
            float(health.engine["role"] == "active"),
        )
        yield _gauge(
            "ao_engine_lease_token", "Token of the engine's lease; a takeover raises it", health.engine["token"]
        )
        yield _gauge(
            "ao_engine_lease_age_seconds",
            "Since the engine's lease was renewed: its heartbeat",
            health.engine["renewal_age_seconds"],
        )


def _cycles(view: OperationsView) -> Iterator[Metric]:
    counter = CounterMetricFamily("ao_cycle", "Closed cycles by outcome", labels=["status"])
    for status in CYCLE_STATUSES:
        counter.add_metric([status], view.cycle_counts.get(status, 0))
    yield counter
    durations = HistogramMetricFamily("ao_cycle_duration_seconds", "From opening to closing a cycle")
    _add_histogram(durations, [], view.cycle_seconds)
    yield durations
    yield _gauge(
        "ao_last_successful_cycle_timestamp_seconds",
        "End of the newest cycle with outcome success; 0 before the first",
        _end_of(view.last_successful),
    )
    yield _gauge(
        "ao_last_completed_cycle_timestamp_seconds",
        "End of the newest cycle with a published snapshot; 0 before the first",
        _end_of(view.last_completed),
    )
    yield _gauge("ao_cycle_open", "Cycles that are opened and not closed", len(view.open_cycles))
    if view.open_cycles:
        oldest = min(item.opened_at_us for item in view.open_cycles) / 1_000_000
        yield _gauge("ao_cycle_oldest_open_timestamp_seconds", "When the oldest open cycle was opened", oldest)
    truth = HistogramMetricFamily("ao_truth_computation_seconds", "Computation of one truth table", labels=["module"])
    for module, histogram in sorted(view.truth_seconds.items()):
        _add_histogram(truth, [module], histogram)
    yield truth
    snapshot = HistogramMetricFamily("ao_snapshot_generation_seconds", "Computation of the agency snapshot")
    _add_histogram(snapshot, [], view.snapshot_seconds)
    yield snapshot


def _assets(view: OperationsView, health: HealthReport) -> Iterator[Metric]:
    heads = view.heads
    as_of = {head.asset: _end_of(head.as_of_cycle) for head in heads}
    yield _labelled("ao_asset_as_of_timestamp_seconds", "End of the cycle that an asset stands for", "asset", as_of)
    yield _labelled(
        "ao_asset_rows", "Rows of an asset's table", "asset", {head.asset: head.row_count for head in heads}
    )
    stale = {head.asset: 0 for head in heads} | dict.fromkeys(health.stale_assets, 1)
    yield _labelled("ao_asset_stale", "1 when an asset is older than its cadence allows", "asset", stale)
    held = {head.asset: 0 for head in heads} | dict.fromkeys(view.holds, 1)
    yield _labelled("ao_asset_hold", "1 when an asset may not be computed until released", "asset", held)
    yield _labelled("ao_quarantined_records", "Refused records that are still open", "asset", dict(view.quarantined))


def _bundles(view: OperationsView) -> Iterator[Metric]:
    bundles = CounterMetricFamily("ao_bundles", "Change bundles by asset and kind", labels=["asset", "kind"])
    rows = CounterMetricFamily("ao_bundle_rows", "Rows changed by bundles", labels=["asset", "kind", "operation"])
    items = CounterMetricFamily(
        "ao_collector_items", "Records by what collecting them did", labels=["collector", "status"]
    )
    refused = {head.asset: 0 for head in view.heads if head.asset.startswith("raw/")} | dict(view.refused)
    known = {(total.asset, total.kind) for total in view.totals}
    for head in view.heads:
        if (head.asset, "revert") not in known:
            bundles.add_metric([head.asset, "revert"], 0)  # A counter that appears with 1 shows no increase.
    for total in view.totals:
        bundles.add_metric([total.asset, total.kind], total.bundles)
        changed = {"inserted": total.rows_inserted, "updated": total.rows_updated, "deleted": total.rows_deleted}
        layer, _, name = total.asset.partition("/")
        for operation, count in changed.items():
            rows.add_metric([total.asset, total.kind, operation], count)
            if layer == "raw" and total.kind == "materialize":
                items.add_metric([name, operation], count)
    for asset, count in sorted(refused.items()):
        items.add_metric([asset.partition("/")[2], "quarantined"], count)
    yield bundles
    yield rows
    yield items


def _deliveries(view: OperationsView) -> Iterator[Metric]:
    sent = CounterMetricFamily(
        "ao_notification_sent", "Notification deliveries that are over", labels=["channel", "status"]
    )
    waiting = GaugeMetricFamily(
        "ao_notification_outbox", "Notification deliveries still to be made", labels=["channel"]
    )
    depth = {channel: 0 for channel, _ in view.deliveries}
    final = {(channel, status): 0 for channel in depth for status in FINAL_STATUSES}
    for (channel, status), count in sorted((final | dict(view.deliveries)).items()):
        if status == WAITING_STATUS:
            depth[channel] += count
        else:
            sent.add_metric([channel, status], count)
    for channel, count in sorted(depth.items()):
        waiting.add_metric([channel], count)
    yield sent
    yield waiting


def _incidents(view: OperationsView) -> Iterator[Metric]:
    counts = dict.fromkeys(INCIDENT_KINDS, 0)
    for item in view.incidents:
        counts[item.kind] = counts.get(item.kind, 0) + 1
    yield _labelled("ao_incidents_open", "Incidents that are not over", "kind", counts)
    sent = CounterMetricFamily("ao_alert_sent", "Alerts to the operator that are over", labels=["status"])
    for status in FINAL_STATUSES:
        sent.add_metric([status], view.alerts.get(status, 0))
    yield sent
    yield _gauge("ao_alert_waiting", "Alerts to the operator still to be sent", view.alerts.get(WAITING_STATUS, 0))


def _breakers(view: OperationsView) -> Iterator[Metric]:
    jobs = {head.asset for head in view.heads}
    states = dict.fromkeys(jobs | {f"source:{source_of(asset)}" for asset in jobs if source_of(asset)}, 0)
    states |= {job: BREAKER_VALUES[state] for job, state in view.breakers.items()}
    yield _labelled("ao_circuit_breaker_status", "0 closed, 1 open, 2 half-open", "job", states)
    changes = CounterMetricFamily(
        "ao_circuit_breaker_transitions", "Changes of circuit breakers by the state they led to", labels=["job", "to"]
    )
    for job in sorted(states):
        for state in BREAKER_STATES:
            changes.add_metric([job, state], view.breaker_transitions.get((job, state), 0))
    yield changes


def _recoveries(view: OperationsView) -> Metric:
    counter = CounterMetricFamily("ao_recovery", "What the engine recovered by itself", labels=["kind"])
    for kind in sorted({*RECOVERY_KINDS, *view.recoveries}):
        counter.add_metric([kind], view.recoveries.get(kind, 0))
    return counter


def _dagster(scrape: Scrape) -> Iterator[Metric]:
    figures = scrape.dagster
    yield _gauge("ao_dagster_up", "1 when Dagster's own figures are known", float(figures is not None))
    failures = CounterMetricFamily(
        "ao_dagster_read_failures", "Failed readings of Dagster's figures since this exporter started"
    )
    failures.add_metric([], scrape.dagster_failures)
    yield failures
    if figures is None:
        return
    beats = {name: beat.timestamp() if beat else 0.0 for name, beat in figures.heartbeats.items()}
    name = "ao_dagster_daemon_heartbeat_timestamp_seconds"
    yield _labelled(name, "Last sign of life of a required daemon; 0 when it never gave one", "daemon", beats)
    yield _labelled("ao_dagster_runs", "Runs that are not over", "status", dict(figures.runs_by_status))
    failing = {name: int(is_failing) for name, is_failing in figures.instigators_failing.items()}
    yield _labelled(
        "ao_dagster_instigator_failing", "1 when the last ticks of a sensor or schedule failed", "name", failing
    )
    if figures.oldest_started_at is not None:
        started = figures.oldest_started_at.timestamp()
        yield _gauge("ao_dagster_oldest_run_start_timestamp_seconds", "Start of the longest-running run", started)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _labelled(name: str, text: str, label: str, values: dict[str, float] | dict[str, int]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    for key, value in sorted(values.items()):
        family.add_metric([key], value)
    return family


def _add_histogram(family: HistogramMetricFamily, labels: list[str], histogram: Histogram) -> None:
    pairs = zip(histogram.bounds_seconds, histogram.counts, strict=True)
    buckets: list[tuple[str, float]] = [(str(bound), float(count)) for bound, count in pairs]
    family.add_metric(labels, [*buckets, ("+Inf", float(histogram.count))], sum_value=histogram.sum_seconds)


def _end_of(cycle: str) -> float:
    return Cycle.from_key(cycle).end.timestamp() if cycle else 0.0
