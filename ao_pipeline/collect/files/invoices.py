"""Invoices out of Xero's CSV export, or of any CSV with a column mapping, to what Xero's API would answer.

A CSV file has one row a line; the rows of one invoice are put together. An export has no ids: the number is one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final

import yaml

from ao_pipeline.collect.contracts.contract import RecordContract
from ao_pipeline.collect.files.charsets import known_codec
from ao_pipeline.collect.files.tabular import Row as Cells
from ao_pipeline.collect.files.tabular import column_name, read_amount, read_day
from ao_pipeline.collect.values import BadValueError
from ao_pipeline.errors import ConfigError

INVOICE: Final = RecordContract("files.invoice", "id", {}, frozenset({"rows"}))
CONTACT: Final = RecordContract("files.contact", "ContactID", {}, frozenset())

XERO_COLUMNS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "invoice_id": "invoiceid",
        "invoice_number": "invoicenumber",
        "invoice_type": "type",
        "invoice_status": "status",
        "reference": "reference",
        "contact_name": "contactname",
        "contact_email": "emailaddress",
        "currency": "currency",
        "issued_on": "invoicedate",
        "due_on": "duedate",
        "total": "total",
        "amount_due": "invoiceamountdue",
        "amount_paid": "invoiceamountpaid",
        "amount_credited": "invoiceamountcredited",
        "fully_paid_on": "fullypaidondate",
        "line_description": "description",
        "line_quantity": "quantity",
        "line_unit_amount": "unitamount",
        "line_amount": "lineamount",
        "line_account": "accountcode",
    }
)
"""Our field, and the column of Xero's export that holds it. A mapping file writes the same with other columns."""

_TYPES: Final = {
    "": "ACCREC",
    "sales invoice": "ACCREC",
    "invoice": "ACCREC",
    "bill": "ACCPAY",
    "purchase invoice": "ACCPAY",
    "sales credit note": "ACCRECCREDIT",
    "credit note": "ACCRECCREDIT",
    "bill credit note": "ACCPAYCREDIT",
}
_STATUSES: Final = {
    "awaiting payment": "AUTHORISED",
    "approved": "AUTHORISED",
    "sent": "AUTHORISED",
    "open": "AUTHORISED",
    "overdue": "AUTHORISED",
    "awaiting approval": "SUBMITTED",
    "void": "VOIDED",
    "cancelled": "VOIDED",
}


@dataclass(frozen=True)
class Columns:
    """How a CSV file is read.

    Attributes:
        columns: Column by our field.
        constants: Values of fields that the file has no column for.
        statuses: Our status by the file's, folded.
        decimal_mark: `.` or `,`.
        day_first: Whether 03/04 is in April; None means: as the file's other dates say.
        delimiter: Separator of cells; empty means the likely one.
        encoding: Charset; empty means the likely one.
    """

    columns: Mapping[str, str] = field(default_factory=lambda: XERO_COLUMNS)
    constants: Mapping[str, str] = field(default_factory=dict)
    statuses: Mapping[str, str] = field(default_factory=dict)
    decimal_mark: str = "."
    day_first: bool | None = None
    delimiter: str = ""
    encoding: str = ""

    def value(self, row: Cells, name: str) -> str:
        """Return a field of a row: its cell, else its constant, else an empty text."""
        return row.get(self.columns.get(name, ""), "") or self.constants.get(name, "")


def read_mapping(text: str, name: str) -> Columns:
    """Return the mapping that a `.columns.yaml` file writes.

    Raises:
        ConfigError: It is no such file; the message says what is wrong.
    """
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{name} is not YAML: {error}") from error
    if not isinstance(found, dict) or not isinstance(found.get("columns"), dict):
        raise ConfigError(f"{name} needs `columns:` with our fields and the file's columns; see docs/files.md")
    known = {"columns", "constants", "statuses", "decimal_mark", "day_first", "delimiter", "encoding", "table"}
    foreign = sorted({str(key) for key in found} - known)
    foreign += sorted({str(key) for key in found["columns"]} - XERO_COLUMNS.keys())
    if foreign or found.get("table", "invoices") != "invoices":
        raise ConfigError(f"{name}: {foreign or found['table']!r} is not known; fields are {sorted(XERO_COLUMNS)}")
    mark, day_first = str(found.get("decimal_mark", ".")), found.get("day_first")
    if mark not in (".", ",") or day_first not in (True, False, None):
        raise ConfigError(f"{name}: decimal_mark is `.` or `,`, day_first is true or false")
    if any(not isinstance(found.get(name) or {}, dict) for name in ("constants", "statuses")):
        raise ConfigError(f"{name}: constants and statuses are lists of `name: value`")
    delimiter = str(found.get("delimiter") or "").replace("\\t", "\t")
    encoding = str(found.get("encoding") or "")
    if len(delimiter) > 1 or delimiter in tuple('"\r\n') or (encoding and known_codec(encoding) is None):
        raise ConfigError(f"{name}: delimiter is one character, encoding a charset such as cp1252")
    statuses = {str(key).casefold(): str(value).upper() for key, value in (found.get("statuses") or {}).items()}
    return Columns(
        columns={str(key): column_name(str(value)) for key, value in found["columns"].items()},
        constants={str(key): str(value) for key, value in (found.get("constants") or {}).items()},
        statuses=statuses,
        decimal_mark=mark,
        day_first=day_first,
        delimiter=delimiter,
        encoding=encoding,
    )


def invoice_key(row: Cells, mapping: Columns) -> str:
    """Return the id of a row's invoice: its own, else its type and number; a bill's number is only its supplier's."""
    own = mapping.value(row, "invoice_id")
    if own:
        return own
    number = mapping.value(row, "invoice_number")
    if not number:
        return ""
    kind = invoice_type(row, mapping)
    return f"file:{number}" if kind == "ACCREC" else f"file:{kind}:{mapping.value(row, 'contact_name')}:{number}"


def invoice_type(row: Cells, mapping: Columns) -> str:
    """Return the type of a row's invoice; unknown ones stay as they are."""
    text = mapping.value(row, "invoice_type")
    return _TYPES.get(text.casefold(), text.upper())


def group_rows(
    rows: Iterable[tuple[int, Cells]], last: Mapping[str, int], mapping: Columns
) -> Iterator[tuple[int, str, list[Cells]]]:
    """Yield (number of its last row, id, rows) of each invoice, as soon as its last row was read.

    Args:
        rows: Numbered rows.
        last: Number of the last row by id, from a first reading; only open invoices are held.
        mapping: How the file is read.
    """
    held: dict[str, list[Cells]] = {}
    for number, row in rows:
        key = invoice_key(row, mapping)
        if not key:
            yield number, "", [row]
            continue
        group = held.setdefault(key, [])
        group.append(row)
        if last[key] == number:
            yield number, key, held.pop(key)


def xero_invoice(record: Mapping[str, Any], mapping: Columns, *, day_first: bool) -> dict[str, Any]:
    """Return the rows of one invoice as Xero's API would answer it.

    Raises:
        BadValueError: It has no number, or an amount or a day cannot be read.
    """
    rows: list[Cells] = record["rows"]
    first = rows[0]
    if not invoice_key(first, mapping):
        raise BadValueError("the row has no invoice number")

    def amount(name: str) -> Decimal | None:
        return read_amount(mapping.value(first, name), name, decimal_mark=mapping.decimal_mark)

    def day(name: str) -> str | None:
        found = read_day(mapping.value(first, name), name, day_first=day_first)
        return found.isoformat() if found else None

    status = mapping.value(first, "invoice_status")
    folded = status.casefold()
    total, paid, due = amount("total"), amount("amount_paid"), amount("amount_due")
    status = mapping.statuses.get(folded) or _STATUSES.get(folded) or status.upper() or "AUTHORISED"
    if due is None and total is not None:
        due = Decimal(0) if status in ("PAID", "VOIDED", "DELETED") else total - (paid or 0)
    name = mapping.value(first, "contact_name")
    return {
        "InvoiceID": record["id"],
        "Type": invoice_type(first, mapping),
        "Status": status,
        "InvoiceNumber": mapping.value(first, "invoice_number") or None,
        "Reference": mapping.value(first, "reference") or None,
        "Contact": {"ContactID": contact_id(name) if name else None, "Name": name or None},
        "CurrencyCode": mapping.value(first, "currency").strip().upper() or None,
        "DateString": day("issued_on"),
        "DueDateString": day("due_on"),
        "Total": total,
        "AmountDue": due,
        "AmountPaid": paid,
        "AmountCredited": amount("amount_credited"),
        "FullyPaidOnDate": day("fully_paid_on"),
        "LineItems": [line for row in rows if (line := _line(row, mapping)) is not None],
    }


def _line(row: Cells, mapping: Columns) -> dict[str, Any] | None:
    def amount(name: str) -> Decimal | None:
        return read_amount(mapping.value(row, name), name, decimal_mark=mapping.decimal_mark)

    line = {
        "LineItemID": None,
        "Description": mapping.value(row, "line_description") or None,
        "Quantity": amount("line_quantity"),
        "UnitAmount": amount("line_unit_amount"),
        "LineAmount": amount("line_amount"),
        "AccountCode": mapping.value(row, "line_account") or None,
    }
    return line if any(value is not None for value in line.values()) else None


def contact_id(name: str) -> str:
    """Return the id that stands for a contact's name."""
    return f"file:{' '.join(name.split())}"


def xero_contact(row: Cells, mapping: Columns) -> dict[str, Any] | None:
    """Return the contact of a row as Xero's API would answer it, None of a row without."""
    name = mapping.value(row, "contact_name")
    if not name:
        return None
    is_sale = invoice_type(row, mapping).startswith("ACCREC")
    return {
        "ContactID": contact_id(name),
        "Name": name,
        "EmailAddress": mapping.value(row, "contact_email") or None,
        "ContactStatus": "ACTIVE",
        "IsCustomer": True if is_sale else None,
        "IsSupplier": None if is_sale else True,
        "DefaultCurrency": mapping.value(row, "currency").upper() or None,
    }
