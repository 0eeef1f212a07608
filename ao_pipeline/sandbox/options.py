"""What one sandbox is started with, and its clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from ao_pipeline.clock import to_micros, utc_now
from ao_pipeline.sandbox.world.size import SIZE_S, SIZES, WorldSize
from ao_pipeline.settings import Settings


@dataclass(frozen=True)
class SandboxOptions:
    """Everything that a sandbox depends on. Credentials are the made-up ones that it accepts."""

    data_dir: Path
    port: int = 0
    """0 asks the system for a free port."""
    seed: int = 20260101
    size: WorldSize = SIZE_S
    frozen_at: datetime | None = None
    mailboxes: tuple[str, ...] = ("ops@agency.example", "accounts@agency.example")
    google_subject: str = "ops@agency.example"
    asana_token: str = "sandbox-asana-token"
    asana_workspace_gid: str = "1200000000000001"
    asana_is_paid: bool = True
    """Whether the workspace's plan has the search for tasks; a free one answers 402."""
    asana_search_lag_seconds: float = 0.0
    """How late a change comes into the search's index: ten to sixty seconds at the vendor."""
    xero_client_id: str = "sandbox-xero-client"
    xero_client_secret: str = "sandbox-xero-secret"
    xero_tenant_id: str = "00000000-0000-4000-8000-000000000001"
    faults_file: Path | None = None
    """List of faults, JSON or YAML, that are in force from the start."""

    @property
    def folder(self) -> Path:
        """Where the sandbox keeps its own files."""
        return self.data_dir / "sandbox"

    @property
    def credentials_path(self) -> Path:
        """Service-account JSON that this sandbox accepts."""
        return self.folder / "google-service-account.json"


def options_from(settings: Settings) -> SandboxOptions:
    """Return the options that match a deployment's settings."""
    return SandboxOptions(
        data_dir=settings.data_path,
        port=settings.sandbox_port,
        seed=settings.sandbox_seed,
        size=SIZES[settings.sandbox_size],
        mailboxes=tuple(box.strip() for box in settings.gmail_mailboxes.split(",") if box.strip()),
        google_subject=settings.google_subject,
        asana_token=settings.asana_token.get_secret_value(),
        asana_workspace_gid=settings.asana_workspace_gid,
        xero_client_id=settings.xero_client_id,
        xero_client_secret=settings.xero_client_secret.get_secret_value(),
        xero_tenant_id=settings.xero_tenant_id,
        faults_file=settings.sandbox_faults_path,
    )


class SandboxClock:
    """The upstreams' clock: the machine's, moved by an offset, or frozen."""

    def __init__(self, frozen_at: datetime | None = None) -> None:
        self.frozen_at = frozen_at
        self._offset = timedelta(0)

    def now(self) -> datetime:
        """Return the instant that every vendor believes it is."""
        return self.frozen_at if self.frozen_at is not None else utc_now() + self._offset

    def micros(self) -> int:
        """Return `now` in microseconds since 1970-01-01 UTC."""
        return to_micros(self.now())

    def freeze(self, instant: datetime | None) -> None:
        """Stand still at an instant, or go on from the machine's time with None."""
        self.frozen_at = instant
        self._offset = timedelta(0)

    def advance(self, seconds: float) -> None:
        """Move forward, frozen or not."""
        if self.frozen_at is not None:
            self.frozen_at += timedelta(seconds=seconds)
        else:
            self._offset += timedelta(seconds=seconds)
