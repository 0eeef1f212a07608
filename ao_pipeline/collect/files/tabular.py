"""CSV of any origin: its charset, its separator, and days and amounts as people and programs write them."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from datetime import date
from decimal import Decimal, InvalidOperation
from itertools import chain
from typing import Final

from ao_pipeline.collect.files.charsets import decode, known_codec
from ao_pipeline.collect.files.lines import byte_lines
from ao_pipeline.collect.values import BadValueError

_ASANA: Final = frozenset({"task id", "name"})
_ASANA_ALSO: Final = frozenset({"section/column", "created at", "last modified", "completed at"})
_INVOICES: Final = frozenset({"contactname", "invoicenumber"})


_DAY_FORMS: Final = (
    (re.compile(r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?:[T ].*)?"), "ymd"),
    (re.compile(r"(\d{1,2})[-/.](\d{1,2})[-/.](\d{4})(?:[T ].*)?"), "xxy"),
    (re.compile(r"(\d{1,2})[-/.](\d{1,2})[-/.](\d{2})(?:[T ].*)?"), "xxy"),
    (re.compile(r"(\d{4})(\d\d)(\d\d)"), "ymd"),
    (re.compile(r"(\d{1,2})\.?[ -]([A-Za-z]{3,9})\.?,?[ -](\d{4}|\d\d)"), "dby"),
    (re.compile(r"([A-Za-z]{3,9})\.? (\d{1,2}),? (\d{4})"), "bdy"),
)
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_AMOUNT: Final = re.compile(r"([-+]?)[A-Za-z$€£¥₹\s]*([-+]?)(\d[\d., ']*|[.,]\d+)[\sA-Za-z$€£¥₹]*(-?)")
_GROUPED: Final = re.compile(r"\d{1,3}([., '])(\d{2,3}\1)*\d{3}|\d+|")
_PLAIN: Final = str.maketrans({"\u00a0": " ", "\u202f": " ", "\u2009": " ", "\u2019": "'", "\u2212": "-"})
"""Spaces, apostrophes and the minus of typographers, by what a keyboard writes."""

_SEPARATOR_HINT: Final = re.compile(r"sep=(.)\r?", re.IGNORECASE)
"""First line that spreadsheets write to tell one another the separator."""

Row = dict[str, str]


def kind_of_header(head: bytes) -> str:
    """Return `asana`, `invoices` or an empty text for the first bytes of a CSV file."""
    try:
        columns = frozenset(next((tuple(row) for _, row in rows([head], is_header_only=True)), ()))
    except BadValueError:
        return ""
    if columns >= _ASANA and columns & _ASANA_ALSO:
        return "asana"
    return "invoices" if columns >= _INVOICES else ""


def column_name(name: str) -> str:
    """Return a column's name without what exporters put around it: case, a star for required, white space."""
    return " ".join(name.strip().lstrip("*").split()).casefold()


def rows(
    chunks: Iterable[bytes], *, delimiter: str = "", encoding: str = "", is_header_only: bool = False
) -> Iterator[tuple[int, Row]]:
    """Yield (number from 0, cells by column name) of every row that is not empty.

    Args:
        chunks: The file's bytes.
        delimiter: Its separator; empty means the one that the header holds most of.
        encoding: Its charset; empty means UTF-16 with its mark, else UTF-8, else Windows-1252, line by line.
        is_header_only: Yield the header as one row of empty cells, and stop.

    Raises:
        BadValueError: A row cannot be split. The iterator has ended.
    """
    lines = _lines(chunks, known_codec(encoding) or "" if encoding else "")
    first_line = next((line for line in lines if line.strip()), "")
    hint = _SEPARATOR_HINT.fullmatch(first_line.strip("\ufeff\n"))
    if hint is not None:
        delimiter = delimiter or hint.group(1)
        first_line = next((line for line in lines if line.strip()), "")
    reader = csv.reader(chain([first_line], lines), delimiter=delimiter or max(",;\t|", key=first_line.count))
    names = _column_names(_next_row(reader, "the header") or [])
    if is_header_only:
        yield 0, dict.fromkeys(names, "")
        return
    number = 0
    while (cells := _next_row(reader, f"the row behind number {number}")) is not None:
        if any(cell.strip() for cell in cells):
            yield number, {name: cell.strip() for name, cell in zip(names, cells, strict=False) if name}
            number += 1


def readable(numbered: Iterable[tuple[int, Row]]) -> Iterator[tuple[int, Row]]:
    """Yield the rows before the first that cannot be split: for a first look at a file, which its reading repeats."""
    try:
        yield from numbered
    except BadValueError:
        return


def _next_row(reader: Iterator[list[str]], place: str) -> list[str] | None:
    try:
        return next(reader, None)
    except csv.Error as error:
        raise BadValueError(f"{place} cannot be split: {error}") from error


def _column_names(cells: list[str]) -> list[str]:
    """Return the columns' names; a later one of the same name (a custom field called `Notes`) gets a number."""
    names: list[str] = []
    for cell in cells:
        name = column_name(cell)
        number = 1
        while name and (unique := name if number == 1 else f"{name} ({number})") in names:
            number += 1
        names.append(unique if name else "")
    return names


def _lines(chunks: Iterable[bytes], encoding: str) -> Iterator[str]:
    for line in byte_lines(chunks, encoding=encoding):
        yield decode(line) + "\n"


def is_day_first(values: Iterable[str]) -> bool | None:
    """Return how a file orders days and months, from the dates that can be read in one way only; None when none can."""
    votes = {True: 0, False: 0}
    for value in values:
        match = _DAY_FORMS[1][0].fullmatch(value.strip()) or _DAY_FORMS[2][0].fullmatch(value.strip())
        if match is not None:
            first, second = int(match.group(1)), int(match.group(2))
            if first > 12 >= second:
                votes[True] += 1
            elif second > 12 >= first:
                votes[False] += 1
    if votes[True] == votes[False]:
        return None
    return votes[True] > votes[False]


def read_day(value: str | None, field: str, *, day_first: bool = True) -> date | None:
    """Return the day of a cell, None of an empty one.

    Raises:
        BadValueError: It is no day in any form that is known, or one that does not exist.
    """
    text = (value or "").strip()
    if not text:
        return None
    for pattern, order in _DAY_FORMS:
        match = pattern.fullmatch(text)
        if match is None:
            continue
        parts = dict(zip({"xxy": "dmy" if day_first else "mdy"}.get(order, order), match.groups(), strict=True))
        try:
            month = _MONTHS.index(parts["b"][:3].lower()) + 1 if "b" in parts else int(parts["m"])
            year = int(parts["y"])
            # Two digits: a ledger holds no days of before 1970, and none of after 2069.
            return date(year + (2000 if year < 70 else 1900) if len(parts["y"]) == 2 else year, month, int(parts["d"]))
        except ValueError as error:
            raise BadValueError(f"{field} is not a calendar day") from error
    raise BadValueError(f"{field} is not a day in a known form; give the mapping a date order or export ISO dates")


def read_amount(value: str | None, field: str, *, decimal_mark: str = ".") -> Decimal | None:
    """Return the exact amount of a cell, None of an empty one. Brackets mean less than zero.

    Raises:
        BadValueError: It is no number.
    """
    text = (value or "").translate(_PLAIN).strip()
    if not text:
        return None
    in_brackets = text.startswith("(") and text.endswith(")")
    match = _AMOUNT.fullmatch(text[1:-1] if in_brackets else text)
    if match is None:
        raise BadValueError(f"{field} is not an amount")
    before, sign, digits, behind = match.groups()
    whole, _, fraction = digits.strip().partition(decimal_mark)
    if _GROUPED.fullmatch(whole) is None or (fraction and not fraction.isdecimal()):
        # 1.234,56 read with a point would be a thousandth of itself, 12,50 a hundredfold.
        raise BadValueError(f"{field} is not an amount with {decimal_mark!r} before its fraction; see decimal_mark")
    try:
        number = Decimal(f"{re.sub(r'[^0-9]', '', _ascii_digits(whole)) or 0}.{_ascii_digits(fraction) or 0}")
    except InvalidOperation as error:
        raise BadValueError(f"{field} is not an amount") from error
    return -number if in_brackets or "-" in (before, sign, behind) else number


def _ascii_digits(text: str) -> str:
    return "".join(str(int(character)) if character.isdecimal() else character for character in text)
