"""CSV of any origin: its charset, its separator, and days and amounts as people and programs write them."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterable, Iterator
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Final

from ao_pipeline.collect.files.charsets import decode, known_codec
from ao_pipeline.collect.values import BadValueError, clean_text

_ASANA: Final = frozenset({"task id", "name"})
_ASANA_ALSO: Final = frozenset({"section/column", "created at", "last modified", "completed at"})
_INVOICES: Final = frozenset({"contactname", "invoicenumber"})


_DAY_FORMS: Final = (
    (re.compile(r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?:[T ].*)?"), "ymd"),
    (re.compile(r"(\d{1,2})[-/.](\d{1,2})[-/.](\d{4})(?:[T ].*)?"), "xxy"),
    (re.compile(r"(\d{1,2})[ -]([A-Za-z]{3,9})\.?,?[ -](\d{4})"), "dby"),
    (re.compile(r"([A-Za-z]{3,9})\.? (\d{1,2}),? (\d{4})"), "bdy"),
)
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_AMOUNT: Final = re.compile(r"[A-Za-z$€£¥₹\s\u00a0]*([-+]?[\d., '\u00a0]*\d)[\s\u00a0A-Za-z€]*")

Row = dict[str, str]


def kind_of_header(head: bytes) -> str:
    """Return `asana`, `invoices` or an empty text for the first bytes of a CSV file."""
    columns = frozenset(next((tuple(row) for _, row in rows([head], is_header_only=True)), ()))
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
    lines = _lines(chunks, encoding)
    header_line = next((line for line in lines if line.strip()), "")
    separator = delimiter or max(",;\t|", key=header_line.count)
    names = [column_name(name) for name in next(csv.reader([header_line], delimiter=separator), [])]
    if is_header_only:
        yield 0, dict.fromkeys(names, "")
        return
    reader = csv.reader(lines, delimiter=separator)
    number = 0
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise BadValueError(f"the row behind number {number} cannot be split: {error}") from error
        if cells is None:
            return
        if any(cell.strip() for cell in cells):
            yield number, {name: cell.strip() for name, cell in zip(names, cells, strict=False) if name}
            number += 1


def _lines(chunks: Iterable[bytes], encoding: str) -> Iterator[str]:
    carried = b""
    decoder: codecs.IncrementalDecoder | None = None
    text = ""
    is_first = True
    for chunk in chunks:
        if is_first:
            is_first = False
            wide = "utf-16" if chunk.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else ""
            name = wide or (known_codec(encoding) if encoding else "") or ""
            decoder = codecs.getincrementaldecoder(name)("replace") if name else None
        if decoder is not None:
            text += decoder.decode(chunk)
            *whole, text = text.splitlines(keepends=True) or [""]
            yield from (clean_text(line) for line in whole)
            continue
        pieces = (carried + chunk).split(b"\n")
        carried = pieces.pop()
        for piece in pieces:
            yield decode(piece) + "\n"
    if decoder is not None:
        yield clean_text(text)
    elif carried:
        yield decode(carried)


def is_day_first(values: Iterable[str]) -> bool | None:
    """Return how a file orders days and months, from the dates that can be read in one way only; None when none can."""
    votes = {True: 0, False: 0}
    for value in values:
        match = _DAY_FORMS[1][0].fullmatch(value.strip())
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
            return date(int(parts["y"]), month, int(parts["d"]))
        except ValueError as error:
            raise BadValueError(f"{field} is not a calendar day") from error
    raise BadValueError(f"{field} is not a day in a known form; give the mapping a date order or export ISO dates")


def read_amount(value: str | None, field: str, *, decimal_mark: str = ".") -> Decimal | None:
    """Return the exact amount of a cell, None of an empty one. Brackets mean less than zero.

    Raises:
        BadValueError: It is no number.
    """
    text = (value or "").strip()
    if not text:
        return None
    is_negative = text.startswith("(") and text.endswith(")")
    match = _AMOUNT.fullmatch(text.strip("()"))
    if match is None:
        raise BadValueError(f"{field} is not an amount")
    digits = re.sub(r"[\s'\u00a0]", "", match.group(1))
    digits = digits.replace("." if decimal_mark == "," else ",", "").replace(",", ".")
    try:
        number = Decimal(digits)
    except InvalidOperation as error:
        raise BadValueError(f"{field} is not an amount") from error
    return -number if is_negative else number
