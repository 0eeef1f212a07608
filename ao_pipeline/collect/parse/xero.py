"""Xero contacts, invoices, payments and credit notes to rows. Amounts are exact decimals until they are minor units."""

from __future__ import annotations

from datetime import date
from typing import Any

from ao_pipeline.bundles.canonical import canonical_decimal, canonical_json
from ao_pipeline.collect.batch import Record, Row
from ao_pipeline.collect.values import (
    as_bool,
    as_day,
    as_decimal,
    as_key,
    as_object,
    as_objects,
    as_text,
    to_minor,
    xero_day,
    xero_instant,
)


def parse_contact(record: Record) -> Row:
    """Return a row of `raw_xero_contacts`."""
    email = as_text(record.get("EmailAddress"), "EmailAddress")
    return {
        "contact_id": as_key(record.get("ContactID"), "ContactID"),
        "name": as_text(record.get("Name"), "Name"),
        "email": email.strip().lower() or None if email is not None else None,
        "contact_status": as_text(record.get("ContactStatus"), "ContactStatus"),
        "is_customer": as_bool(record.get("IsCustomer"), "IsCustomer"),
        "is_supplier": as_bool(record.get("IsSupplier"), "IsSupplier"),
        "default_currency": as_text(record.get("DefaultCurrency"), "DefaultCurrency"),
        "merged_to_contact_id": as_text(record.get("MergedToContactID"), "MergedToContactID"),
        "updated_at": xero_instant(record.get("UpdatedDateUTC"), "UpdatedDateUTC"),
    }


def parse_invoice(record: Record) -> Row:
    """Return a row of `raw_xero_invoices`. Deleted and voided invoices are rows too: their status says so."""
    currency = as_text(record.get("CurrencyCode"), "CurrencyCode")
    contact = as_object(record.get("Contact"), "Contact")

    def minor(field: str) -> int | None:
        return to_minor(as_decimal(record.get(field), field), currency, field)

    return {
        "invoice_id": as_key(record.get("InvoiceID"), "InvoiceID"),
        "invoice_type": as_text(record.get("Type"), "Type"),
        "invoice_status": as_text(record.get("Status"), "Status"),
        "invoice_number": as_text(record.get("InvoiceNumber"), "InvoiceNumber"),
        "reference": as_text(record.get("Reference"), "Reference"),
        "contact_id": as_text(contact.get("ContactID"), "Contact.ContactID"),
        "contact_name": as_text(contact.get("Name"), "Contact.Name"),
        "currency": currency,
        "issued_on": _day(record, "Date"),
        "due_on": _day(record, "DueDate"),
        "total_minor": minor("Total"),
        "amount_due_minor": minor("AmountDue"),
        "amount_paid_minor": minor("AmountPaid"),
        "amount_credited_minor": minor("AmountCredited"),
        "fully_paid_on": xero_day(record.get("FullyPaidOnDate"), "FullyPaidOnDate"),
        "lines_json": canonical_json(_lines(record)),
        "updated_at": xero_instant(record.get("UpdatedDateUTC"), "UpdatedDateUTC"),
    }


def parse_payment(record: Record) -> Row:
    """Return a row of `raw_xero_payments`. The currency is that of the document that is paid; Xero repeats it there."""
    invoice, credit_note = (as_object(record.get(name), name) for name in ("Invoice", "CreditNote"))
    documents = [invoice, credit_note, *(as_object(record.get(name), name) for name in ("Prepayment", "Overpayment"))]
    currency = next((code for item in documents if (code := as_text(item.get("CurrencyCode"), "CurrencyCode"))), None)
    amount = as_decimal(record.get("Amount"), "Amount")
    return {
        "payment_id": as_key(record.get("PaymentID"), "PaymentID"),
        "payment_type": as_text(record.get("PaymentType"), "PaymentType"),
        "payment_status": as_text(record.get("Status"), "Status"),
        "invoice_id": as_text(invoice.get("InvoiceID"), "Invoice.InvoiceID"),
        "invoice_number": as_text(invoice.get("InvoiceNumber"), "Invoice.InvoiceNumber"),
        "credit_note_id": as_text(credit_note.get("CreditNoteID"), "CreditNote.CreditNoteID"),
        "reference": as_text(record.get("Reference"), "Reference"),
        "paid_on": _day(record, "Date"),
        "currency": currency,
        "amount_minor": to_minor(amount, currency, "Amount") if currency else None,
        "amount": canonical_decimal(amount) if amount is not None else None,
        "is_reconciled": as_bool(record.get("IsReconciled"), "IsReconciled"),
        "updated_at": xero_instant(record.get("UpdatedDateUTC"), "UpdatedDateUTC"),
    }


def parse_credit_note(record: Record) -> Row:
    """Return a row of `raw_xero_credit_notes`."""
    currency = as_text(record.get("CurrencyCode"), "CurrencyCode")
    contact = as_object(record.get("Contact"), "Contact")

    def minor(field: str) -> int | None:
        return to_minor(as_decimal(record.get(field), field), currency, field)

    return {
        "credit_note_id": as_key(record.get("CreditNoteID"), "CreditNoteID"),
        "credit_note_type": as_text(record.get("Type"), "Type"),
        "credit_note_status": as_text(record.get("Status"), "Status"),
        "credit_note_number": as_text(record.get("CreditNoteNumber"), "CreditNoteNumber"),
        "reference": as_text(record.get("Reference"), "Reference"),
        "contact_id": as_text(contact.get("ContactID"), "Contact.ContactID"),
        "contact_name": as_text(contact.get("Name"), "Contact.Name"),
        "currency": currency,
        "issued_on": _day(record, "Date"),
        "fully_paid_on": xero_day(record.get("FullyPaidOnDate"), "FullyPaidOnDate"),
        "total_minor": minor("Total"),
        "remaining_credit_minor": minor("RemainingCredit"),
        "allocations_json": canonical_json(_allocations(record)),
        "updated_at": xero_instant(record.get("UpdatedDateUTC"), "UpdatedDateUTC"),
    }


def _allocations(record: Record) -> list[dict[str, Any]]:
    found = []
    for item in as_objects(record.get("Allocations"), "Allocations"):
        invoice = as_object(item.get("Invoice"), "Allocations.Invoice")
        amount = as_decimal(item.get("Amount"), "Allocations.Amount")
        allocated_on = xero_day(item.get("Date"), "Allocations.Date")
        found.append(
            {
                "invoice_id": as_text(invoice.get("InvoiceID"), "Allocations.Invoice.InvoiceID"),
                "amount": canonical_decimal(amount) if amount is not None else None,
                "allocated_on": allocated_on.isoformat() if allocated_on else None,
            }
        )
    return sorted(found, key=lambda item: (str(item["invoice_id"] or ""), str(item["allocated_on"] or "")))


def _day(record: Record, field: str) -> date | None:
    """Prefer the `…String` twin: it is the day as entered, without a detour over an instant."""
    text = record.get(f"{field}String")
    return as_day(text, f"{field}String") if text else xero_day(record.get(field), field)


def _lines(record: Record) -> list[dict[str, Any]]:
    return [
        {
            "line_id": as_text(line.get("LineItemID"), "LineItemID"),
            "description": as_text(line.get("Description"), "Description"),
            "quantity": _exact(line, "Quantity"),
            "unit_amount": _exact(line, "UnitAmount"),
            "line_amount": _exact(line, "LineAmount"),
            "account_code": as_text(line.get("AccountCode"), "AccountCode"),
        }
        for line in as_objects(record.get("LineItems"), "LineItems")
    ]


def _exact(line: dict[str, Any], field: str) -> str | None:
    number = as_decimal(line.get(field), f"LineItems.{field}")
    return canonical_decimal(number) if number is not None else None
