"""A deployment whose every secret is a canary: a good cycle, one against failing sources, and what people look at."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import requests

from ao_pipeline.sandbox.options import SandboxOptions
from ao_pipeline.sandbox.server import RunningSandbox, serve
from ao_pipeline.sandbox.world.size import SIZE_S
from ao_pipeline_tests.pipeline.plant import FIRST, NOW, SECOND
from ao_pipeline_tests.secrets.canaries import Canaries
from ao_pipeline_tests.secrets.echo import Echo
from ao_pipeline_tests.secrets.scan import Ended, run_child, watched

TINY = replace(
    SIZE_S,
    name="tiny",
    projects=6,
    members=6,
    tasks=40,
    mail_threads=8,
    chat_messages=40,
    spaces=3,
    calendars=3,
    events=20,
    invoices=12,
    contacts=8,
    people=10,
    files=10,
    google_tasks=10,
)
"""What is collected does not matter here, only that all of it is."""

COMMANDS = "ao_pipeline_tests.secrets.commands"
LOOKS = [["status"], ["status", "--json"], ["quarantine", "list"], ["settings"], ["settings", "--json"], ["doctor"]]
SERVED = ("/metrics", "/health", "/ready", "/snapshot")


@contextmanager
def haunted_sandbox(folder: Path, canaries: Canaries) -> Iterator[RunningSandbox]:
    """Serve upstreams that accept the canaries and nothing else; their own files lie outside the data folder."""
    options = SandboxOptions(
        data_dir=folder,
        frozen_at=NOW,
        size=TINY,
        asana_token=canaries.asana_token,
        xero_client_id=canaries.xero_client_id,
        xero_client_secret=canaries.xero_client_secret,
    )
    with serve(options) as box:
        canaries.add_private_key(json.loads(box.credentials_path.read_text())["private_key"])
        yield box


@dataclass
class Haunted:
    """What the deployment left behind."""

    canaries: Canaries
    box: RunningSandbox
    echo: Echo
    data: Path
    ended: dict[str, Ended] = field(default_factory=dict)
    answers: dict[str, bytes] = field(default_factory=dict)

    def variables(self) -> dict[str, str]:
        """Return the settings of the good cycle."""
        return {
            "AO_DATA_DIR": str(self.data),
            "AO_SANDBOX_PORT": str(self.box.port),
            "AO_GOOGLE_CREDENTIALS_FILE": str(self.box.credentials_path),
            "AO_ASANA_TOKEN": self.canaries.asana_token,
            "AO_XERO_CLIENT_ID": self.canaries.xero_client_id,
            "AO_XERO_CLIENT_SECRET": self.canaries.xero_client_secret,
            "AO_WEBHOOK_URL": f"{self.box.url}/webhook/chat?key=k&token={self.canaries.webhook_token}",
            "AO_EXPORTER_PORT": str(free_port()),
            "AO_CALL_ATTEMPTS": "2",
        }

    def failing(self) -> dict[str, str]:
        """Return settings in which every source fails in another way and quotes the request."""
        ways = {
            "ASANA": "page-401",
            "GMAIL": "page-500",
            "CALENDAR": "google-429",
            "TASKS": "google-403",
            "PEOPLE": "page-200",
            "DRIVE": "mirror-200",
        }
        return self.variables() | {
            **{f"AO_{source}_BASE_URL": self.echo.url(way) for source, way in ways.items()},
            "AO_CHAT_BASE_URL": f"http://127.0.0.1:{free_port()}/refused",
            "AO_XERO_TOKEN_URL": self.echo.url("oauth-401"),
            "AO_WEBHOOK_URL": f"{self.echo.url('page-500')}?key=k&token={self.canaries.webhook_token}",
        }

    def storeless(self) -> dict[str, str]:
        """Return settings whose state store does not answer."""
        url = f"postgresql+psycopg2://ao:{self.canaries.state_password}@127.0.0.1:{free_port()}/ao"
        return self.variables() | {"AO_STATE_URL": url}

    def misspelt(self) -> dict[str, str]:
        """Return settings whose state URL cannot be understood."""
        url = f"postgresql+psycopg2://ao:{self.canaries.state_password}@127.0.0.1:port/ao"
        return self.variables() | {"AO_STATE_URL": url}

    def live(self) -> None:
        """Do all of it."""
        self._run("good", self.variables(), [["cycle", "--cycle", FIRST.key], ["snapshot"], *LOOKS])
        self._run("failing", self.failing(), [["cycle", "--cycle", SECOND.key], ["snapshot"], *LOOKS])
        self._run("storeless", self.storeless(), [["cycle", "--cycle", SECOND.key], ["migrate"], *LOOKS])
        self._run("misspelt", self.misspelt(), [["cycle", "--cycle", SECOND.key], ["migrate"], *LOOKS])
        self._serve("exporter", self.variables())
        self._serve("storeless exporter", self.storeless())
        for header in self.echo.authorizations:
            self.canaries.add_authorization(header)

    def _run(self, name: str, variables: dict[str, str], commands: list[list[str]]) -> None:
        self.ended[name] = run_child("-m", COMMANDS, json.dumps(commands), **variables)

    def _serve(self, name: str, variables: dict[str, str]) -> None:
        with watched("-m", "ao_pipeline.exporter", **variables) as child, requests.Session() as session:
            session.trust_env = False
            child.wait_for(b"exporter.ready")
            for path in SERVED:
                answer = session.get(f"http://127.0.0.1:{variables['AO_EXPORTER_PORT']}{path}", timeout=20)
                self.answers[f"{name} {path}"] = answer.content + str(answer.headers).encode()
        self.ended[name] = child.ended()


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
