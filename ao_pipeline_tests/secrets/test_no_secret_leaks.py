"""No secret leaves the process, whatever fails: files, databases, output, answers, errors and the process list are searched."""

from __future__ import annotations

import json
import sqlite3
import traceback
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from ao_pipeline.adapters.channels.webhook import WebhookChannel
from ao_pipeline.adapters.sources.registry import collect
from ao_pipeline.adapters.state.opening import open_store
from ao_pipeline.collect.tables import RAW_TABLES
from ao_pipeline.errors import AoError
from ao_pipeline.settings import Settings
from ao_pipeline.supervisor.specs import engine_specs
from ao_pipeline_tests.pipeline.plant import NOW, environment
from ao_pipeline_tests.secrets.canaries import Canaries
from ao_pipeline_tests.secrets.echo import WAYS, echo_server
from ao_pipeline_tests.secrets.haunted import Haunted, haunted_sandbox
from ao_pipeline_tests.secrets.scan import Scan, watched

KEYS = {spec.asset: spec.key_schema for spec in RAW_TABLES}


@pytest.fixture(scope="module")
def haunted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Haunted]:
    """The deployment, after everything happened to it."""
    folder = tmp_path_factory.mktemp("haunted")
    canaries = Canaries()
    with haunted_sandbox(folder / "vendors", canaries) as box, echo_server() as echo:
        made = Haunted(canaries, box, echo, folder / "data")
        made.live()
        yield made


@pytest.fixture
def scan(haunted: Haunted) -> Scan:
    return Scan(haunted.canaries.patterns())


def codes(haunted: Haunted, name: str) -> dict[str, int]:
    last = haunted.ended[name].output.decode().strip().splitlines()[-1]
    found: dict[str, int] = json.loads(last)["codes"]
    return {command.split(" --cycle")[0]: code for command, code in found.items()}


def test_everything_that_is_searched_did_happen(haunted: Haunted) -> None:
    good, failing, storeless = (codes(haunted, name) for name in ("good", "failing", "storeless"))
    seen = "\n".join(haunted.echo.texts)

    assert (good["cycle"], good["status"], good["settings"]) == (0, 0, 0), haunted.ended["good"].output.decode()
    assert failing["cycle"] == 1
    assert storeless["status"] == storeless["migrate"] == 1
    assert {way for way in WAYS if f" /{way}" in seen} >= {
        "page-401",
        "page-500",
        "page-200",
        "oauth-401",
        "mirror-200",
    }
    assert haunted.canaries.asana_token in seen
    assert haunted.canaries.webhook_token in seen
    assert any(header.startswith("Basic ") for header in haunted.echo.authorizations), "Xero's secret was not sent"
    assert len([name for name in haunted.canaries.more if "was sent" in name]) >= 8
    assert any(message["deliveries"] for message in haunted.box.webhook_messages()), "nothing was notified"


def test_no_file_holds_a_secret(haunted: Haunted, scan: Scan) -> None:
    found = scan.folder(haunted.data)

    assert found == []
    assert scan.unpacked > 20, "no bundle was unpacked: the search looked at the wrong folder"
    names = {path.name for path in haunted.data.rglob("*")}
    assert "state.db" in names
    assert any(path.suffix == ".db" and "dagster" in path.parts for path in haunted.data.rglob("*")), names


def test_no_output_holds_a_secret(haunted: Haunted, scan: Scan) -> None:
    found = [line for name, child in haunted.ended.items() for line in scan.data(child.output, f"the output of {name}")]

    assert found == []
    assert all(child.output for child in haunted.ended.values())


def test_no_answer_of_the_exporter_holds_a_secret(haunted: Haunted, scan: Scan) -> None:
    found = [line for path, body in haunted.answers.items() for line in scan.data(body, path)]

    assert found == []
    assert b"ao_" in haunted.answers["exporter /metrics"]
    assert (
        b"unreachable" in haunted.answers["storeless exporter /health"]
        or b"store" in haunted.answers["storeless exporter /health"]
    )


def test_no_command_line_holds_a_secret(haunted: Haunted, scan: Scan) -> None:
    found = [line for name, child in haunted.ended.items() for line in scan.data(child.command_lines, name)]
    with environment(**haunted.failing(), AO_STATE_URL=haunted.storeless()["AO_STATE_URL"]) as settings:
        planned = "\n".join(" ".join(spec.command) for spec in engine_specs(settings, Path("workspace.yaml")))

    assert found == []
    assert scan.data(planned.encode(), "the commands of `ao up`") == []
    assert all(b"python" in child.command_lines for child in haunted.ended.values())


SENT_TO = {
    "gmail": "raw/gmail_messages",
    "asana": "raw/asana_tasks",
    "xero": "raw/xero_invoices",
    "xero_token": "raw/xero_contacts",
}


@pytest.mark.parametrize("way", [*WAYS, "refused"])
@pytest.mark.parametrize("part", [*SENT_TO, "google_token"])
def test_no_error_of_a_collector_holds_a_secret(haunted: Haunted, tmp_path: Path, part: str, way: str) -> None:
    address = "http://127.0.0.1:9/" if way == "refused" else haunted.echo.url(way)
    variables = haunted.variables() | {"AO_DATA_DIR": str(tmp_path), "AO_CALL_ATTEMPTS": "1"}
    if part == "google_token":
        key = json.loads(haunted.box.credentials_path.read_text())
        (tmp_path / "key.json").write_text(json.dumps(key | {"token_uri": address}))
        variables["AO_GOOGLE_CREDENTIALS_FILE"] = str(tmp_path / "key.json")
    else:
        variables["AO_XERO_TOKEN_URL" if part == "xero_token" else f"AO_{part.upper()}_BASE_URL"] = address
    asset = SENT_TO.get(part, "raw/drive_files")
    before = len(haunted.echo.authorizations)

    with environment(**variables) as settings, pytest.raises(AoError) as caught:
        collect(asset, settings=settings, cursor=None, stored_keys=KEYS[asset].empty_table, now=NOW)

    for header in haunted.echo.authorizations[before:]:
        haunted.canaries.add_authorization(header)
    assert Scan(haunted.canaries.patterns()).data(everything_about(caught.value), "the error") == []


@pytest.mark.parametrize("way", [*WAYS, "refused"])
def test_no_error_of_the_webhook_holds_a_secret(haunted: Haunted, scan: Scan, way: str) -> None:
    address = "http://127.0.0.1:9/" if way == "refused" else haunted.echo.url(way)
    secret = haunted.canaries.webhook_token
    with WebhookChannel(f"{address}?key=k&token={secret}") as channel:
        caught = error_of(channel.send, "key", "title", "body")

    assert (caught is None) == way.endswith("-200")
    assert secret not in repr(channel)
    assert scan.data(everything_about(caught or AoError("sent")), "the error") == []


@pytest.mark.parametrize("kind", ["storeless", "misspelt"])
def test_no_error_of_the_state_store_holds_a_secret(haunted: Haunted, scan: Scan, kind: str) -> None:
    variables = haunted.storeless() if kind == "storeless" else haunted.misspelt()

    with environment(**variables) as settings, pytest.raises(AoError) as caught:
        open_store(settings)

    assert scan.data(everything_about(caught.value), "the error") == []


def test_settings_show_no_secret_in_any_form(haunted: Haunted, scan: Scan) -> None:
    with environment(**haunted.storeless()) as settings:
        shown = [
            repr(settings),
            str(settings),
            settings.model_dump_json(),
            str(settings.model_dump()),
            str(vars(settings)),
        ]

    assert scan.data("\n".join(shown).encode(), "the settings") == []
    assert isinstance(settings, Settings)


def error_of(call: Callable[..., object], *arguments: str) -> AoError | None:
    """Return what a call raises of ours, None when it succeeds."""
    try:
        call(*arguments)
    except AoError as error:
        return error
    return None


def everything_about(error: BaseException) -> bytes:
    """Return the texts, details and tracebacks of an error and of all that stand behind it, shown or not."""
    texts = traceback.format_exception(error)
    behind: BaseException | None = error
    while behind is not None:
        texts += [str(behind), repr(behind), repr(behind.args)]
        if isinstance(behind, AoError):
            texts.append(repr(vars(behind)))  # Ours go to metadata; a library's own attributes go nowhere.
        behind = behind.__cause__ or behind.__context__
    return "\n".join(texts).encode()


def in_a_file(folder: Path, secret: str) -> None:
    (folder / "cycle.log").write_text(f"sent {secret} to nobody")


def in_a_file_name(folder: Path, secret: str) -> None:
    (folder / f"{secret}.json").touch()


def in_base64(folder: Path, secret: str) -> None:
    import base64

    (folder / "header.txt").write_bytes(base64.b64encode(f"client:{secret}".encode()))


def in_a_cell(folder: Path, secret: str) -> None:
    cell(folder, f'{{"error": "{secret}"}}')


def in_a_packed_event(folder: Path, secret: str) -> None:
    cell(folder, zlib.compress(secret.encode() * 3))


def in_a_bundle(folder: Path, secret: str) -> None:
    plain = (f"{secret} " * 3).encode()
    cell(folder, len(plain).to_bytes(8, "little") + pa.Codec("zstd").compress(plain).to_pybytes())


def cell(folder: Path, value: str | bytes) -> None:
    with sqlite3.connect(folder / "events.db") as connection:
        connection.execute("CREATE TABLE event_logs (id INTEGER, event)")
        connection.execute("INSERT INTO event_logs VALUES (1, ?)", (value,))
    connection.close()


@pytest.mark.parametrize("plant", [in_a_file, in_a_file_name, in_base64, in_a_cell, in_a_packed_event, in_a_bundle])
def test_a_planted_secret_is_found(tmp_path: Path, plant: object) -> None:
    canaries = Canaries()
    assert callable(plant)
    plant(tmp_path, canaries.webhook_token)

    found = Scan(canaries.patterns()).folder(tmp_path)

    assert found, f"{plant.__name__} was not found"
    assert all("webhook token" in line for line in found)


def test_a_secret_on_a_command_line_is_found() -> None:
    canaries = Canaries()
    with watched("-c", "print('ready', flush=True); import time; time.sleep(30)", canaries.asana_token) as child:
        child.wait_for(b"ready")

    assert Scan(canaries.patterns()).data(child.ended().command_lines, "child")


def test_a_secret_in_a_cause_that_is_not_shown_is_found() -> None:
    canaries = Canaries()
    hidden = AoError("hidden")
    hidden.__context__ = ValueError(canaries.asana_token)
    hidden.__suppress_context__ = True

    found = Scan(canaries.patterns()).data(everything_about(hidden), "the error")

    assert "Asana token" in str(found)
