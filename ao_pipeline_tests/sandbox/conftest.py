"""A sandbox per test, and one that only reads share; clients that authenticate as the collectors do."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import google.auth.transport.requests
import pytest
import requests
from google.oauth2 import service_account

from ao_pipeline.sandbox.options import SandboxOptions
from ao_pipeline.sandbox.server import RunningSandbox, serve
from ao_pipeline.sandbox.world.size import SIZE_S

SMALL = replace(SIZE_S, name="small", tasks=300, mail_threads=150, chat_messages=400, events=150, invoices=60)
"""For tests that change their world: a start takes a third of the time."""
NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
GOOGLE_SCOPE = "https://www.googleapis.com/auth/"


class Upstream:
    """One source of a sandbox, with its credentials."""

    def __init__(self, sandbox: RunningSandbox, source: str, headers: dict[str, str]) -> None:
        self.base = sandbox.upstream_url(source)
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers.update(headers)

    def ask(self, path: str, *, headers: Mapping[str, str] | None = None, **params: Any) -> requests.Response:
        return self.session.get(self.base + path, params=params, headers=headers, timeout=10)

    def get(self, path: str, *, headers: Mapping[str, str] | None = None, **params: Any) -> dict[str, Any]:
        answer = self.ask(path, headers=headers, **params)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body


class Upstreams:
    """Clients of every source of one sandbox."""

    def __init__(self, sandbox: RunningSandbox) -> None:
        self.sandbox = sandbox
        self._open: list[Upstream] = []

    def google_token(self, subject: str, *scopes: str) -> str:
        credentials = service_account.Credentials.from_service_account_file(  # type: ignore[no-untyped-call]
            str(self.sandbox.credentials_path), scopes=[GOOGLE_SCOPE + name for name in scopes], subject=subject
        )
        with requests.Session() as session:
            session.trust_env = False
            credentials.refresh(google.auth.transport.requests.Request(session=session))
        return str(credentials.token)

    def _upstream(self, source: str, headers: dict[str, str]) -> Upstream:
        upstream = Upstream(self.sandbox, source, headers)
        self._open.append(upstream)
        return upstream

    def asana(self) -> Upstream:
        return self._upstream("asana", {"Authorization": f"Bearer {self.sandbox.options.asana_token}"})

    def google(self, source: str, *scopes: str, subject: str = "ops@agency.example") -> Upstream:
        return self._upstream(source, {"Authorization": f"Bearer {self.google_token(subject, *scopes)}"})

    def gmail(self, mailbox: str = "ops@agency.example") -> Upstream:
        upstream = self.google("gmail", "gmail.readonly", subject=mailbox)
        upstream.base += f"/users/{mailbox}"
        return upstream

    def calendar(self) -> Upstream:
        return self.google("calendar", "calendar.readonly")

    def chat(self) -> Upstream:
        return self.google("chat", "chat.spaces.readonly", "chat.messages.readonly")

    def xero(self) -> Upstream:
        options = self.sandbox.options
        answer = requests.post(
            self.sandbox.upstream_url("xero_token"),
            data={"grant_type": "client_credentials"},
            auth=(options.xero_client_id, options.xero_client_secret),
            timeout=10,
        )
        headers = {"Authorization": f"Bearer {answer.json()['access_token']}", "Accept": "application/json"}
        return self._upstream("xero", {**headers, "xero-tenant-id": options.xero_tenant_id})

    def close(self) -> None:
        for upstream in self._open:
            upstream.session.close()


@pytest.fixture(scope="session")
def key_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder whose RSA key every sandbox of the session copies: making one costs more than a test."""
    folder = tmp_path_factory.mktemp("key")
    with serve(SandboxOptions(data_dir=folder, frozen_at=NOW)):
        pass
    return folder


def _options(key_folder: Path, folder: Path) -> SandboxOptions:
    (folder / "sandbox").mkdir(parents=True)
    shutil.copy(key_folder / "sandbox" / "google-service-account.json", folder / "sandbox")
    return SandboxOptions(data_dir=folder, frozen_at=NOW)


@pytest.fixture
def options(key_folder: Path, tmp_path: Path) -> SandboxOptions:
    return replace(_options(key_folder, tmp_path / "data"), size=SMALL)


@pytest.fixture
def upstreams(options: SandboxOptions) -> Iterator[Upstreams]:
    """Clients of a fresh sandbox that stands still at NOW."""
    with ExitStack() as stack:
        made = Upstreams(stack.enter_context(serve(options)))
        stack.callback(made.close)
        yield made


@pytest.fixture(scope="session")
def still(key_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstreams]:
    """Clients of one sandbox at NOW that no test changes."""
    with ExitStack() as stack:
        made = Upstreams(stack.enter_context(serve(_options(key_folder, tmp_path_factory.mktemp("still") / "data"))))
        stack.callback(made.close)
        yield made
