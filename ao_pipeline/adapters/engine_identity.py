"""Who this machine's engine is, among several that may share one state store."""

from __future__ import annotations

import hashlib
import socket

from ao_pipeline.settings import Settings


def engine_identity(settings: Settings) -> str:
    """Return the name of this machine's engine: everything that shares its data folder and Dagster instance is one engine."""
    places = f"{settings.data_path}|{settings.dagster_home or ''}"
    return f"{socket.gethostname()}:{hashlib.sha256(places.encode()).hexdigest()[:8]}"
