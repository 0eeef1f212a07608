"""Deployment settings: the only module that reads the environment. Every default works on a laptop against the sandbox.

Policy (thresholds, days, limits) does not belong here: it lives in a frozen dataclass in its own package.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from ao_pipeline.addresses import SANDBOX_PATHS, URL_FIELDS
from ao_pipeline.cycle import Cycle
from ao_pipeline.errors import ConfigError, UnknownNameError

PREFIX: Final = "AO_"
PROJECT_DIR: Final = Path(__file__).resolve().parent.parent
"""The checkout: where `workspace.yaml` and `dagster.yaml` lie. Relative paths in settings start here."""

_SANDBOX_PORT: Final = 8710

Port = Annotated[int, Field(ge=1, le=65535)]


class Settings(BaseSettings):
    """One typed field per variable `AO_<NAME>`; secrets are never printed."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True)

    data_dir: Path = Field(
        default=Path("var"), description="Folder for everything that is written; relative to the project"
    )
    state_url: SecretStr = Field(
        default=SecretStr(""), description="SQLAlchemy URL of the state store; empty means SQLite in the data folder"
    )
    dagster_home: Path | None = Field(
        default=None,
        validation_alias="DAGSTER_HOME",
        description="Dagster's instance folder; unset means one in the data folder",
    )
    first_cycle: str = Field(
        default="2026-11-01-00:00",
        description="First partition, UTC; earlier cycles do not exist. Moving it later hides history",
    )
    org_time_zone: str = Field(
        default="Asia/Dubai", description="IANA zone of org-local days: due dates, ageing, quiet hours"
    )
    org_domains: str = Field(
        default="agency.example",
        description="Comma-separated mail domains of the agency itself: tells inbound from outbound",
    )
    files_dir: Path | None = Field(
        default=None, description="Folder of exported files to read sources from, see docs/files.md; empty means none"
    )
    reference_dir: Path = Field(default=Path("deploy/reference"), description="Folder of the typed reference files")

    sandbox_enabled: bool = Field(default=True, description="Let `ao up` start the simulated upstreams")
    sandbox_port: Port = Field(default=_SANDBOX_PORT, description="Loopback port of the simulated upstreams")
    sandbox_seed: int = Field(default=20260101, ge=0, description="Seed of the simulated agency; same seed, same world")
    sandbox_size: Literal["S", "M", "L"] = Field(
        default="S", description="Size of the simulated agency: S, M as large as a real one, L five times that"
    )
    sandbox_faults_file: Path | None = Field(
        default=None, description="File with the faults that the simulated upstreams begin with (docs/sandbox.md)"
    )
    exporter_port: Port = Field(default=8711, description="Loopback port of /metrics and /health")
    webserver_port: Port = Field(default=3000, description="Loopback port of the Dagster UI")
    code_server_port: Port = Field(default=8712, description="Loopback port of Dagster's code server")
    bind_host: str = Field(default="127.0.0.1", description="Address that the exporter and the UI listen on")

    asana_base_url: str = Field(default="", description="Empty means the sandbox")
    asana_token: SecretStr = Field(
        default=SecretStr("sandbox-asana-token"), description="Personal access or service account token"
    )
    asana_workspace_gid: str = Field(default="1200000000000001", description="Workspace to read")
    google_credentials_file: Path | None = Field(
        default=None, description="Service-account JSON; unset means the sandbox's own, made at its start"
    )
    google_subject: str = Field(
        default="ops@agency.example",
        description="User whose delegated view of Calendar, Chat, Tasks, contacts and Drive is read",
    )
    gmail_base_url: str = Field(default="", description="Empty means the sandbox")
    gmail_mailboxes: str = Field(
        default="ops@agency.example,accounts@agency.example", description="Comma-separated mailboxes to read"
    )
    calendar_base_url: str = Field(default="", description="Empty means the sandbox")
    chat_base_url: str = Field(default="", description="Empty means the sandbox")
    tasks_base_url: str = Field(default="", description="Google Tasks. Empty means the sandbox")
    people_base_url: str = Field(default="", description="Google contacts. Empty means the sandbox")
    drive_base_url: str = Field(default="", description="Empty means the sandbox")
    xero_base_url: str = Field(default="", description="Empty means the sandbox")
    xero_token_url: str = Field(default="", description="Empty means the sandbox")
    xero_client_id: str = Field(default="sandbox-xero-client", description="Custom-connection client id")
    xero_client_secret: SecretStr = Field(
        default=SecretStr("sandbox-xero-secret"), description="Custom-connection secret"
    )
    xero_refresh_token_file: Path | None = Field(
        default=None,
        description="File with a rotating refresh token, which is rewritten; unset means client credentials",
    )
    xero_tenant_id: str = Field(default="00000000-0000-4000-8000-000000000001", description="Organisation to read")
    xero_daily_calls: int = Field(default=5_000, ge=100, le=1_000_000, description="Calls a day of Xero's plan")
    webhook_url: SecretStr = Field(
        default=SecretStr(""), description="Google Chat webhook of alerts; empty means the sandbox's"
    )
    alert_url: SecretStr = Field(
        default=SecretStr(""),
        description="Chat webhook of alerts to the operator; empty means the same as AO_WEBHOOK_URL",
    )
    heartbeat_url: SecretStr = Field(default=SecretStr(""), description="Dead-man's switch of cycles; empty means none")

    connect_timeout_seconds: float = Field(default=3.0, gt=0, le=60, description="TCP and TLS set-up of one request")
    read_timeout_seconds: float = Field(
        default=10.0, gt=0, le=300, description="Silence on one request before it counts as lost"
    )
    call_attempts: int = Field(default=4, ge=1, le=10, description="Tries of one request, the first included")
    source_budget_seconds: float = Field(
        default=120.0, gt=0, le=3600, description="Total time of one collector in one cycle, waits included"
    )

    step_memory_mib: int = Field(default=1024, ge=0, description="Memory that one step may add, MiB; 0 for no limit")
    sweep_hours: int = Field(default=12, ge=1, le=24, description="Hours in which what tells no changes is asked once")

    @field_validator("files_dir", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("org_time_zone")
    @classmethod
    def _zone_exists(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError(f"{value!r} is not an IANA time zone; write one like Asia/Dubai")
        return value

    @field_validator("first_cycle")
    @classmethod
    def _is_cycle(cls, value: str) -> str:
        try:
            Cycle.from_key(value)
        except UnknownNameError as error:
            raise ValueError(str(error)) from error
        return value

    @field_validator("state_url")
    @classmethod
    def _is_supported(cls, value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        if url and not url.startswith(("sqlite:///", "postgresql+psycopg2://")):
            raise ValueError("state_url must start with sqlite:/// or postgresql+psycopg2://")
        return value

    @model_validator(mode="after")
    def _ports_differ(self) -> Settings:
        ports = [self.sandbox_port, self.exporter_port, self.webserver_port, self.code_server_port]
        if len(set(ports)) != len(ports):
            raise ValueError(f"sandbox, exporter, webserver and code server need four different ports, got {ports}")
        return self

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.org_time_zone)

    @property
    def org_domain_list(self) -> list[str]:
        """The agency's own mail domains, lower case, sorted."""
        return sorted({part.strip().lower() for part in self.org_domains.split(",") if part.strip()})

    @property
    def data_path(self) -> Path:
        """Absolute data folder."""
        return _absolute(self.data_dir)

    @property
    def reference_path(self) -> Path:
        """Absolute folder of reference files."""
        return _absolute(self.reference_dir)

    @property
    def files_path(self) -> Path | None:
        """Absolute folder of exported files; None when files are no source."""
        return None if self.files_dir is None else _absolute(self.files_dir.expanduser())

    @property
    def resolved_state_url(self) -> str:
        return self.state_url.get_secret_value() or f"sqlite:///{self.data_path / 'state.db'}"

    @property
    def sandbox_url(self) -> str:
        return f"http://127.0.0.1:{self.sandbox_port}"

    def upstream_url(self, source: str) -> str:
        """Return the base URL of a source, or of `xero_token` or `webhook`; the keys are those of `SANDBOX_PATHS`."""
        value = getattr(self, URL_FIELDS[source])
        configured: str = value.get_secret_value() if isinstance(value, SecretStr) else value
        return configured.rstrip("/") or self.sandbox_url + SANDBOX_PATHS[source]

    def is_simulated(self, source: str) -> bool:
        """Whether the sandbox stands in for a source."""
        return self.upstream_url(source).startswith(self.sandbox_url + "/")

    @property
    def sandbox_faults_path(self) -> Path | None:
        """Absolute file of the faults that the sandbox begins with; None means it begins without."""
        return None if self.sandbox_faults_file is None else _absolute(self.sandbox_faults_file)

    @property
    def xero_refresh_token_path(self) -> Path | None:
        """Absolute file of Xero's refresh token; None where client credentials are used."""
        return None if self.xero_refresh_token_file is None else _absolute(self.xero_refresh_token_file)

    @property
    def google_credentials_path(self) -> Path:
        """The service-account file in force."""
        if self.google_credentials_file is not None:
            return _absolute(self.google_credentials_file)
        return self.data_path / "sandbox" / "google-service-account.json"


def url_variable(source: str) -> str:
    """Return the name of the variable that holds a source's address, for messages."""
    return PREFIX + URL_FIELDS[source].upper()


def _absolute(path: Path) -> Path:
    return path if path.is_absolute() else PROJECT_DIR / path


def variable_of(field: str) -> str:
    """Return the environment variable that sets a field."""
    alias = Settings.model_fields[field].validation_alias
    return alias if isinstance(alias, str) else PREFIX + field.upper()


def load_settings() -> Settings:
    """Read the environment.

    Raises:
        ConfigError: A variable is wrong or unknown; the message names each one and the fix.
    """
    known = {variable_of(name) for name in Settings.model_fields} | NOT_SETTINGS
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
    problems = [f"{name} is not a setting; see `ao settings` for all of them" for name in unknown]
    settings: Settings | None = None
    try:
        settings = Settings()
    except ValidationError as error:
        for item in error.errors(include_url=False, include_input=False):
            name = PREFIX + "_".join(str(part) for part in item["loc"]).upper() if item["loc"] else "AO_*"
            problems.append(f"{name}: {item['msg']}")
    if problems or settings is None:
        raise ConfigError("settings are wrong:\n  " + "\n  ".join(problems))
    return settings


NOT_SETTINGS: Final = frozenset({"AO_TEST_POSTGRES_URL", "AO_DAGSTER_POSTGRES_URL"})
"""Variables with our prefix that others read: the test suite, and Dagster in `deploy/dagster-postgres`."""


def child_environment(*, without: Iterable[str] = (), **extra: str) -> dict[str, str]:
    """Return this process's environment for a child process: without some variables, with others set."""
    return {name: value for name, value in os.environ.items() if name not in set(without)} | extra


_in_use: Final[list[Settings]] = []


@lru_cache(maxsize=1)
def current_settings() -> Settings:
    """Return this process's settings, read once."""
    return _in_use[-1] if _in_use else load_settings()


@contextmanager
def use_settings(settings: Settings) -> Iterator[None]:
    """Let this process use other settings for a while: a throw-away store beside the real one."""
    _in_use.append(settings)
    current_settings.cache_clear()
    try:
        yield
    finally:
        _in_use.pop()
        current_settings.cache_clear()
