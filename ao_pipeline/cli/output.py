"""How answers look: tables that fit a terminal, bare tables when piped, and JSON. Notes go to standard error."""

from __future__ import annotations

import io
import json
import math
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final, Literal

import click

from ao_pipeline import clock

MAX_CELL_CHARACTERS: Final = 100
"""Longest cell of a table; `--json` has the whole value."""

DEFAULT_LIMIT: Final = 20
"""Rows shown unless asked otherwise: one screen."""

MAX_LIMIT: Final = 1_000_000

_GAP: Final = 2
"""Blanks between columns."""

_NARROWEST: Final = 24
"""Columns are cut down to this, so that bundle ids, cycles and asset keys stay whole; below it rows become blocks."""

_PIPE_WIDTH: Final = 1_000_000
"""Columns of the page when nobody looks: lines are as long as their cells, never wrapped."""

limit_option = click.option(
    "--limit",
    type=click.IntRange(1, MAX_LIMIT),
    default=DEFAULT_LIMIT,
    show_default=True,
    metavar="N",
    help="Most rows to print.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, with whole values.")


def print_json(value: Any) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(json_value(value), indent=2, ensure_ascii=False, allow_nan=False))


def print_table(headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows under their headings; one block a row when a terminal is too narrow for them side by side."""
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    is_terminal = sys.stdout.isatty()
    page = io.StringIO()
    console = Console(
        file=page,
        force_terminal=is_terminal,
        width=None if is_terminal else _PIPE_WIDTH,
        color_system="auto" if is_terminal else None,
        highlight=False,
    )
    cells = [[cell_text(value) for value in row] for row in rows]
    natural = [max(cell_len(line[position]) for line in (headings, *cells)) for position in range(len(headings))]
    widths = _fitted(natural, console.width)
    if widths is None:
        _print_blocks(headings, cells)
        return
    table = RichTable(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for position, (heading, width) in enumerate(zip(headings, widths, strict=True)):
        is_number = bool(rows) and all(_is_number(row[position]) for row in rows)
        justify: Literal["left", "right"] = "right" if is_number else "left"
        table.add_column(Text(heading), justify=justify, width=width, no_wrap=True, overflow="ellipsis")
    for row_cells in cells:
        table.add_row(*(Text(cell) for cell in row_cells))
    console.print(table, soft_wrap=not is_terminal)
    for line in page.getvalue().splitlines():
        click.echo(line.rstrip())


def print_facts(facts: Mapping[str, Any]) -> None:
    """Print names and values, one a line; empty ones are left out."""
    shown = {
        name: cell_text(value, limit=MAX_CELL_CHARACTERS * 4)
        for name, value in facts.items()
        if value not in ("", None)
    }
    width = max((len(name) for name in shown), default=0)
    for name, value in shown.items():
        click.echo(f"{name:<{width}}  {value}".rstrip())


def note(text: str) -> None:
    """Say something beside the answer."""
    click.echo(text, err=True)


def note_more(shown: int, total: int | None, what: str) -> None:
    """Say that a limit cut the answer; `total` is None when only that there is more is known."""
    if total is None:
        note(f"The first {shown} {what}; more with --limit.")
    elif total > shown:
        note(f"{shown} of {total} {what}; more with --limit.")


def cell_text(value: Any, *, limit: int = MAX_CELL_CHARACTERS) -> str:
    """Return a value as one line of bounded length; characters that could drive a terminal are spelled out."""
    if value is None:
        return "NULL"
    plain = json_value(value)
    if isinstance(plain, bool):
        text = "true" if plain else "false"
    elif isinstance(plain, str):
        text = plain
    else:
        text = json.dumps(plain, ensure_ascii=False)
    text = printable(text[: limit + 1])
    return text if len(text) <= limit else text[: limit - 1] + "…"


def json_value(value: Any) -> Any:
    """Return `value` as JSON can hold it: instants and days as ISO text, what is not finite as text."""
    if isinstance(value, datetime):
        # The house form has milliseconds; stored instants have microseconds, and two that differ must look different.
        return value.isoformat().replace("+00:00", "Z") if value.microsecond % 1000 else clock.to_iso(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {str(name): json_value(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_value(item) for item in value]
    return value


def printable(text: str) -> str:
    """Return `text` with the characters that could drive a terminal or reorder a line spelled out."""
    return "".join(_printable(character) for character in text)


def signed(sign: str, count: int) -> str:
    """Return a count of changed rows such as `+3`, and `0` plainly."""
    return f"{sign}{count}" if count else "0"


def _fitted(natural: Sequence[int], page: int) -> list[int] | None:
    """Return column widths that fit the page, the widest columns cut first; None when they cannot."""
    widths = list(natural)
    excess = sum(widths) + _GAP * (len(widths) - 1) - page
    while excess > 0:
        widest = max(range(len(widths)), key=widths.__getitem__)
        if widths[widest] <= _NARROWEST:
            return None
        widths[widest] -= 1
        excess -= 1
    return widths


def _print_blocks(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    width = max(len(heading) for heading in headings)
    for position, row in enumerate(rows):
        if position:
            click.echo()
        for heading, cell in zip(headings, row, strict=True):
            click.echo(f"{heading:<{width}}  {cell}".rstrip())


def _is_number(value: Any) -> bool:
    if isinstance(value, str):
        return value[:1] in "+~-0123456789" and value.lstrip("+~-").isdigit()
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _printable(character: str) -> str:
    category = unicodedata.category(character)
    is_bidi_control = "\u202a" <= character <= "\u202e" or "\u2066" <= character <= "\u2069"
    if category in ("Cc", "Zl", "Zp", "Cs") or is_bidi_control:
        return character.encode("unicode_escape", "surrogatepass").decode("ascii")
    return character
