"""Invoices and contacts out of CSV files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ao_pipeline.adapters.files_source.folder import Found, Kind
from ao_pipeline.adapters.files_source.intake import FilesRequest, Intake, collect_changed
from ao_pipeline.adapters.files_source.reading import chunks, read_range
from ao_pipeline.collect.batch import Record, Row
from ao_pipeline.collect.files.invoices import (
    CONTACT,
    INVOICE,
    Columns,
    group_rows,
    invoice_key,
    read_mapping,
    xero_contact,
    xero_invoice,
)
from ao_pipeline.collect.files.tabular import Row as Cells
from ao_pipeline.collect.files.tabular import is_day_first, readable, rows
from ao_pipeline.collect.parse import xero as parse
from ao_pipeline.collect.result import Collected
from ao_pipeline.collect.tables import RAW_XERO_CONTACTS, RAW_XERO_INVOICES
from ao_pipeline.collect.values import BadValueError

KINDS: Final = (Kind.INVOICES_CSV,)

_MAX_MAPPING_BYTES: Final = 1 << 20
_DAYS: Final = ("issued_on", "due_on", "fully_paid_on")


class _Invoices:
    """The file that is being read: its columns, and how it writes days."""

    def __init__(self) -> None:
        self._columns = Columns()
        self._day_first = True

    def parse(self, record: Record) -> Row:
        return parse.parse_invoice(xero_invoice(record, self._columns, day_first=self._day_first))

    def read(self, unit: Found, begin: int, intake: Intake) -> Iterator[int]:
        self._columns = columns = columns_of(unit)
        last: dict[str, int] = {}
        number = -1
        try:
            for place, row in readable(_rows(unit, columns)):
                last[invoice_key(row, columns)] = place
            self._day_first = _day_first(unit, columns, intake)
            for number, key, group in group_rows(_rows(unit, columns), last, columns):
                if number < begin:
                    continue
                intake.add({"id": key or f"{unit.name}#{number}", "rows": group}, size=len(str(group)))
                yield number + 1
        except BadValueError as error:
            # The rest of the file cannot be read; what came before has been.
            intake.refuse(unit, number + 1, str(error))


def collect_invoices(request: FilesRequest, units: list[Found]) -> Collected:
    """Collect `raw/xero_invoices` from files. A voided or deleted invoice is a row whose status says so."""
    reading = _Invoices()
    return collect_changed(request, units, Intake(request, RAW_XERO_INVOICES, INVOICE, reading.parse), reading.read)


def collect_contacts(request: FilesRequest, units: list[Found]) -> Collected:
    """Collect `raw/xero_contacts` from files: the contacts that invoices name."""
    intake = Intake(request, RAW_XERO_CONTACTS, CONTACT, parse.parse_contact)
    seen: set[str] = set()

    def read(unit: Found, begin: int, target: Intake) -> Iterator[int]:
        columns = columns_of(unit)
        number = -1
        try:
            for number, row in _rows(unit, columns):
                contact = xero_contact(row, columns)
                if contact is not None and contact["ContactID"] not in seen:
                    seen.add(contact["ContactID"])
                    if number >= begin:
                        target.add(contact, size=300)
                if number >= begin:
                    yield number + 1
        except BadValueError as error:
            target.refuse(unit, number + 1, str(error))

    return collect_changed(request, units, intake, read)


def columns_of(unit: Found) -> Columns:
    """Return how a file is read: as its mapping says, else as Xero exports.

    Raises:
        ConfigError: The mapping beside it is wrong.
    """
    if unit.mapping is None:
        return Columns()
    text = read_range(unit.mapping, 0, _MAX_MAPPING_BYTES).decode("utf-8-sig", "replace")
    return read_mapping(text, unit.mapping.name)


def _rows(unit: Found, columns: Columns) -> Iterator[tuple[int, Cells]]:
    return rows(chunks(unit.path), delimiter=columns.delimiter, encoding=columns.encoding)


def _day_first(unit: Found, columns: Columns, intake: Intake) -> bool:
    if columns.day_first is not None:
        return columns.day_first
    days = (columns.value(row, name) for _, row in readable(_rows(unit, columns)) for name in _DAYS)
    found = is_day_first(days)
    if found is None:
        # Either no date needs the answer, or none gives it; Xero's home writes the day first.
        intake.count("day_order_unknown")
    return found is not False
