"""What `ao` prints: stable and bare when piped, harmless whatever the data holds, and at once for `--help`."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime

import click
import pytest
from click.testing import CliRunner

from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.cli import main, output
from ao_pipeline_tests.cli.history import BILLS, FOURTH, Ao, bill, commit

COMMANDS = (
    ("log",),
    ("status",),
    ("verify",),
    ("diff", "raw/bills"),
    ("asof", "raw/bills"),
    ("blame", "raw/bills", "A1", "1"),
    ("hold", "list"),
    ("quarantine", "list"),
    ("revert", "raw/bills", "--last", "1"),
)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_piped_output_is_bare_and_the_same_each_time(ao: Ao, words: tuple[str, ...]) -> None:
    first, second = ao(*words), ao(*words)

    assert first.stdout == second.stdout
    assert "\x1b" not in first.output
    assert not any(line != line.rstrip() for line in first.stdout.splitlines())


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_json_is_one_document_on_standard_output(ao: Ao, words: tuple[str, ...]) -> None:
    result = ao(*words, "--json")

    assert isinstance(json.loads(result.stdout), dict)
    assert result.exit_code == 0


def test_a_row_is_one_line_however_long_when_piped(store: StateStore, ao: Ao) -> None:
    commit(store, BILLS, FOURTH.shift(1), [bill("A1", 1, note="n" * 5000)])

    result = ao("asof", "raw/bills")

    lines = result.stdout.splitlines()
    assert len(lines) == 2
    assert "…" in lines[1]
    assert len(lines[1]) < 300


def test_text_from_upstream_cannot_drive_the_terminal(store: StateStore, ao: Ao) -> None:
    hostile = "\x1b[2J[red]two\nlines\u202e\x07 عرب😀"
    commit(store, BILLS, FOURTH.shift(1), [bill("A1", 1, note=hostile)])

    table, document = ao("asof", "raw/bills"), ao("asof", "raw/bills", "--json")

    assert "\\x1b[2J[red]two\\nlines\\u202e\\x07 عرب😀" in table.stdout
    assert json.loads(document.stdout)["rows"][0]["note"] == hostile


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "NULL"),
        (True, "true"),
        (float("nan"), "NaN"),
        (-0.0, "-0.0"),
        (datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC), "2026-01-02T03:04:05.678Z"),
        (datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC), "2026-01-02T03:04:05.678901Z"),
        ({"b": [1, None]}, '{"b": [1, null]}'),
        ("", ""),
    ],
)
def test_every_value_has_one_text(value: object, text: str) -> None:
    assert output.cell_text(value) == text


@pytest.mark.parametrize(
    ("page", "widths"),
    [(200, [5, 16, 90]), (100, [5, 16, 75]), (49, [5, 16, 24]), (48, None)],
)
def test_wide_columns_are_cut_before_rows_become_blocks(page: int, widths: list[int] | None) -> None:
    assert output._fitted([5, 16, 90], page) == widths


@pytest.mark.parametrize(("columns", "is_block"), [("200", False), ("60", True)])
def test_a_terminal_gets_lines_that_fit_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: str, is_block: bool
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    output.print_table([f"column_{n}" for n in range(8)], [["value"] * 8, ["other"] * 8])

    lines = click.unstyle(capsys.readouterr().out).splitlines()
    assert (lines[0].split() == ["column_0", "value"]) is is_block
    assert all(len(line) <= int(columns) for line in lines)


def test_every_command_is_in_the_help_under_a_heading() -> None:
    result = CliRunner().invoke(main, ["--help"])

    assert result.exit_code == 0
    assert all(f"\n  {name} " in result.stdout for name in main.commands)


@pytest.mark.parametrize("words", [["bundle"], ["log", "--colour"], ["log", "--limit", "0"], ["blame", "raw/bills"]])
def test_wrong_usage_exits_2(words: list[str]) -> None:
    assert CliRunner().invoke(main, words).exit_code == 2


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from ao_pipeline.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "heavy = {'dagster', 'sqlalchemy', 'pyarrow', 'pandas', 'pydantic', 'rich', 'numpy', 'alembic'}\n"
        "print('heavy:', *sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stderr.strip() == "heavy:"
