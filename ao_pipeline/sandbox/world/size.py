"""How large the simulated agency is, and how far back its objects reach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

DAY_MICROS: Final = 86_400_000_000
HOUR_MICROS: Final = 3_600_000_000
MINUTE_MICROS: Final = 60_000_000


@dataclass(frozen=True)
class WorldSize:
    """Counts at the anchor day. After it the world grows at the same rates: count divided by horizon, per day."""

    name: str
    clients: int
    brands: int
    projects: int
    members: int
    tasks: int
    mail_threads: int
    """A thread has three messages on average."""
    chat_messages: int
    spaces: int
    calendars: int
    events: int
    """Singles, masters, exceptions and copies together; one birth makes 1.15 of them on average."""
    invoices: int
    contacts: int
    google_tasks: int = 90
    people: int = 120
    files: int = 200
    task_horizon_days: int = 60
    mail_horizon_days: int = 30
    chat_horizon_days: int = 30
    event_horizon_days: int = 45
    invoice_horizon_days: int = 150
    google_task_horizon_days: int = 40
    person_horizon_days: int = 90
    file_horizon_days: int = 40


SIZE_S: Final = WorldSize(
    name="S",
    clients=20,
    brands=25,
    projects=60,
    members=30,
    tasks=1_000,
    mail_threads=300,
    chat_messages=2_000,
    spaces=10,
    calendars=8,
    events=300,
    invoices=150,
    contacts=40,
    task_horizon_days=40,
    mail_horizon_days=20,
    chat_horizon_days=15,
    event_horizon_days=30,
)
"""Unit tests and CI. The short horizons give about three changes every 15 minutes."""

SIZE_M: Final = WorldSize(
    name="M",
    clients=160,
    brands=180,
    projects=354,
    members=31,
    tasks=21_000,
    mail_threads=2_300,
    chat_messages=183_000,
    spaces=60,
    calendars=20,
    events=38_000,
    invoices=1_255,
    contacts=320,
    google_tasks=600,
    people=900,
    files=8_000,
    task_horizon_days=360,
    mail_horizon_days=120,
    chat_horizon_days=360,
    event_horizon_days=360,
    invoice_horizon_days=360,
    google_task_horizon_days=360,
    person_horizon_days=360,
    file_horizon_days=360,
)
"""About the size of a real agency of thirty people."""

SIZE_L: Final = WorldSize(
    name="L",
    clients=800,
    brands=900,
    projects=1_800,
    members=120,
    tasks=105_000,
    mail_threads=11_600,
    chat_messages=900_000,
    spaces=300,
    calendars=60,
    events=190_000,
    invoices=6_000,
    contacts=1_600,
    google_tasks=3_000,
    people=4_500,
    files=40_000,
    task_horizon_days=720,
    mail_horizon_days=240,
    chat_horizon_days=720,
    event_horizon_days=720,
    invoice_horizon_days=720,
    google_task_horizon_days=720,
    person_horizon_days=720,
    file_horizon_days=720,
)
"""Scale and leak tests."""

SIZES: Final = {size.name: size for size in (SIZE_S, SIZE_M, SIZE_L)}
