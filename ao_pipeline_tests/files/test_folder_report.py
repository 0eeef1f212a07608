"""What `ao doctor` says of a folder of exports, and what a folder of archives leads to."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from ao_pipeline.adapters.files_source.folder import scan
from ao_pipeline.adapters.files_source.registry import report_folder
from ao_pipeline.cli import main
from ao_pipeline.errors import ConfigError
from ao_pipeline.settings import Settings, use_settings

MAIL = b"From a@b.example Thu Jan  1 00:00:00 2026\nFrom: a@b.example\nSubject: Hello\n\nText\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "exports"
    (root / "Takeout" / "Mail").mkdir(parents=True)
    return root


def settings_of(folder: Path) -> Settings:
    return Settings(data_dir=folder.parent / "data", files_dir=folder)


def archive_in(folder: Path, name: str = "takeout.zip") -> None:
    with zipfile.ZipFile(folder / name, "w") as archive:
        archive.writestr("Takeout/Mail/All mail.mbox", MAIL)


def test_without_a_folder_there_is_nothing_to_report(tmp_path: Path) -> None:
    assert report_folder(Settings(data_dir=tmp_path)) is None


def test_kinds_are_counted_with_their_tables_and_the_rest_is_named(folder: Path) -> None:
    (folder / "Takeout" / "Mail" / "All mail.mbox").write_bytes(MAIL)
    (folder / "Takeout" / "archive_browser.html").write_text("<html></html>")
    (folder / "Takeout" / "nothing.csv").touch()

    report = report_folder(settings_of(folder))

    assert report is not None
    assert [(item.kind, item.files, item.tables) for item in report.kinds] == [("mbox", 1, ("raw/gmail_messages",))]
    assert [(file.name, file.reason) for file in report.ignored] == [
        ("Takeout/archive_browser.html", "no export that is known"),
        ("Takeout/nothing.csv", "empty, or no file"),
    ]
    assert report.problem == ""


@pytest.mark.parametrize("name", ["takeout.zip", "takeout-without-a-suffix"])
def test_an_archive_is_named_with_what_to_do(folder: Path, name: str) -> None:
    (folder / "Takeout" / "Mail" / "All mail.mbox").write_bytes(MAIL)
    archive_in(folder, name)

    report = report_folder(settings_of(folder))

    assert report is not None
    assert (name in report.problem, "unpack" in report.fix) == (True, True)
    assert [file.name for file in scan(folder)] == ["Takeout/Mail/All mail.mbox"], "the rest is read all the same"


def test_a_folder_of_nothing_but_archives_is_refused_rather_than_read_as_empty(folder: Path) -> None:
    archive_in(folder)

    with pytest.raises(ConfigError, match=r"takeout\.zip is unpacked"):
        scan(folder)


def test_an_empty_and_a_missing_folder_are_problems(folder: Path) -> None:
    empty, missing = report_folder(settings_of(folder)), report_folder(settings_of(folder / "nowhere"))

    assert empty is not None
    assert "nothing" in empty.problem
    assert missing is not None
    assert "no folder" in missing.problem


def test_the_doctor_asks_no_simulated_source_and_shows_the_folder(folder: Path) -> None:
    (folder / "Takeout" / "Mail" / "All mail.mbox").write_bytes(MAIL)
    archive_in(folder)
    with use_settings(settings_of(folder)):
        shown, as_json = (CliRunner().invoke(main, ["doctor", *extra]) for extra in ([], ["--json"]))

    assert (shown.exit_code, as_json.exit_code) == (1, 1)
    assert "raw/gmail_messages" in shown.output
    assert "takeout.zip: an archive" in shown.output
    told = json.loads(as_json.output)
    assert (told["sources"], told["failed"], told["files"]["ignored"]) == ([], 1, 1)
