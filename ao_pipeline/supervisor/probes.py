"""Is a process making progress? Each probe is bounded in time and answers yes, no or don't know."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

PROBE_SECONDS: Final = 3.0
"""Limit of one probe: a process that needs longer for a trivial answer is as good as hung."""

HEARTBEAT_LIMIT_SECONDS: Final = 120.0
"""Oldest heartbeat of a living daemon. It beats every 30 s, and on a busy machine late; 60 s would give false alarms."""

_MAX_BODY_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class Verdict:
    """`is_alive` is None when the probe could not tell: that counts neither for nor against the process."""

    is_alive: bool | None
    detail: str = ""


Probe = Callable[[], Verdict]


def http_probe(
    host: str, port: int, path: str, *, accepted: frozenset[int] = frozenset({200}), seconds: float = PROBE_SECONDS
) -> Probe:
    """Return a probe that wants one of the accepted statuses for a GET."""

    def probe() -> Verdict:
        try:
            status, _ = _get(host, port, path, seconds)
        except (OSError, http.client.HTTPException) as error:
            return Verdict(is_alive=False, detail=f"GET {path}: {type(error).__name__}")
        return Verdict(is_alive=status in accepted, detail=f"GET {path}: {status}")

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


def heartbeat_probe(host: str, exporter_port: int) -> Probe:
    """Return a probe of the age of the daemons' heartbeats, which the exporter reads from Dagster's storage.

    Without an exporter, or while it cannot read them, nothing is known.
    """

    def probe() -> Verdict:
        try:
            _, body = _get(host, exporter_port, "/health", PROBE_SECONDS)
            age = json.loads(body).get("daemon_heartbeat_age_seconds")
        except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
            return Verdict(is_alive=None, detail=f"heartbeats unknown: {type(error).__name__}")
        if not isinstance(age, int | float):
            return Verdict(is_alive=None, detail="heartbeats unknown")
        return Verdict(is_alive=age <= HEARTBEAT_LIMIT_SECONDS, detail=f"oldest heartbeat {age:.0f} s ago")

    return probe


def _get(host: str, port: int, path: str, seconds: float) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(host, port, timeout=seconds)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read(_MAX_BODY_BYTES)
    finally:
        connection.close()
