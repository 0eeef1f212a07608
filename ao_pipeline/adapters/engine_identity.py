"""Who this machine's engine is, among several that may share one state store."""

from __future__ import annotations

import hashlib
import socket

from ao_pipeline.adapters.dagster_home import dagster_home_of
from ao_pipeline.settings import Settings


def engine_identity(settings: Settings) -> str:
    """Return the name of this machine's engine: everything that shares its data folder and Dagster instance is one engine."""
    # `ao up` sets DAGSTER_HOME for the processes it starts, a terminal has none: both mean the same folder.
    places = f"{settings.data_path}|{dagster_home_of(settings)}"
    return f"{socket.gethostname()}:{hashlib.sha256(places.encode()).hexdigest()[:8]}"
