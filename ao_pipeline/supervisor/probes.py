"""Is a process making progress? Each probe is bounded in time and answers yes, no or don't know."""

from __future__ import annotations

import http
import http.client
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ao_pipeline.adapters.run_beats import ENGINE, read_beat, subjects
from ao_pipeline.adapters.run_workers import observe
from ao_pipeline.resilience.run_recovery import judge_worker

PROBE_SECONDS: Final = 3.0
"""Limit of one probe: a process that needs longer for a trivial answer is as good as hung."""

BEAT_LIMIT_SECONDS: Final = 30.0
"""Oldest beat of an engine that evaluates its sensors: one comes every 10 s, 15 s apart on a busy machine. With four looks in a row it is
a quarter of a minute more to a restart."""

SENSOR_OFF_SECONDS: Final = 300.0
"""A beat that is older tells nothing of the daemon: nobody evaluates that sensor."""

HEARTBEAT_LIMIT_SECONDS: Final = 120.0
"""Oldest heartbeat of a living daemon. It beats every 30 s, and on a busy machine late; 60 s would give false alarms."""

MAX_RUNS: Final = 50

_MAX_BODY_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class Verdict:
    """`is_alive` is None when the probe could not tell: that counts neither for nor against the process."""

    is_alive: bool | None
    detail: str = ""


Probe = Callable[[], Verdict]


def http_probe(host: str, port: int, path: str, *, seconds: float = PROBE_SECONDS) -> Probe:
    """Return a probe that wants 200 for a GET."""

    def probe() -> Verdict:
        try:
            status, _ = _get(host, port, path, seconds)
        except (OSError, http.client.HTTPException) as error:
            return Verdict(is_alive=False, detail=f"GET {path}: {type(error).__name__}")
        return Verdict(is_alive=status == http.HTTPStatus.OK, detail=f"GET {path}: {status}")

    return probe


def grpc_probe(port: int) -> Probe:
    """Return a probe of the health service of a Dagster code server on this machine."""

    def probe() -> Verdict:
        # Imported late: it takes a tenth of a second and is needed only once the code server runs.
        import grpc  # type: ignore[import-untyped]  # Its stubs are a package of their own.
        from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]  # The same.

        # A proxy from the environment must not stand between us and our own machine.
        with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
            request = health_pb2.HealthCheckRequest(service="DagsterApi")
            try:
                answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=PROBE_SECONDS)
            except grpc.RpcError as error:
                code = error.code() if isinstance(error, grpc.Call) else "no answer"
                return Verdict(is_alive=False, detail=f"health check: {code}")
        is_serving = answer.status == health_pb2.HealthCheckResponse.SERVING
        return Verdict(is_alive=is_serving, detail=f"health check: {answer.status}")

    return probe


def daemon_probe(data_path: Path, host: str, exporter_port: int, *, code: Probe) -> Probe:
    """Return a probe of the daemon's progress.

    The sensor `recover` leaves a beat every ten seconds: the daemon asks for it, the code server answers. A beat that has just
    become too old is a hang, unless the code server or the database is away. When the sensor has not run for long (a person
    switched it off, the engine is starting), the heartbeats decide that the exporter reads from Dagster's storage.

    Args:
        data_path: Data folder, with the beats.
        host, exporter_port: The exporter.
        code: Probe of the code server.
    """

    def probe() -> Verdict:
        beat = read_beat(data_path, ENGINE)
        age = float("inf") if beat is None or not beat.is_of_this_host else beat.age_seconds
        if age <= BEAT_LIMIT_SECONDS:
            return Verdict(is_alive=True, detail=f"sensors evaluated {age:.0f} s ago")
        heartbeat = _heartbeat(host, exporter_port)
        if isinstance(heartbeat, str):
            return Verdict(is_alive=None, detail=heartbeat)
        if age <= SENSOR_OFF_SECONDS:
            if code().is_alive is not True:
                return Verdict(is_alive=None, detail=f"sensors evaluated {age:.0f} s ago, but the code server is away")
            return Verdict(is_alive=False, detail=f"sensors evaluated {age:.0f} s ago")
        return Verdict(is_alive=heartbeat <= HEARTBEAT_LIMIT_SECONDS, detail=f"oldest heartbeat {heartbeat:.0f} s ago")

    return probe


def _heartbeat(host: str, exporter_port: int) -> float | str:
    """Return the age of the oldest heartbeat, or why it is unknown: without an exporter, or while it cannot read."""
    try:
        _, body = _get(host, exporter_port, "/health", PROBE_SECONDS)
        age = json.loads(body).get("daemon_heartbeat_age_seconds")
    except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
        return f"heartbeats unknown: {type(error).__name__}"
    return float(age) if isinstance(age, int | float) else "heartbeats unknown"


def runs_probe(data_path: Path) -> Probe:
    """Return a probe of the runs: none may be dead or hung. The engine ends such runs by itself, within half a minute."""

    def probe() -> Verdict:
        beats = [beat for subject in subjects(data_path) if (beat := read_beat(data_path, subject)) is not None]
        judged = [(beat.subject, judge_worker(observe(data_path, beat))) for beat in beats[:MAX_RUNS]]
        bad = [f"run {subject[:8]}: {verdict.reason}" for subject, verdict in judged if verdict is not None]
        return Verdict(is_alive=not bad, detail="; ".join(bad) or f"{len(judged)} under way")

    return probe


def _get(host: str, port: int, path: str, seconds: float) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(host, port, timeout=seconds)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read(_MAX_BODY_BYTES)
    finally:
        connection.close()
