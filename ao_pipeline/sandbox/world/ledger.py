"""Lives of Xero documents: invoices drafted, approved, paid in parts, credited, voided, deleted; and the contacts."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from ao_pipeline.clock import from_micros
from ao_pipeline.sandbox.world import names
from ao_pipeline.sandbox.world.agency import Agency
from ao_pipeline.sandbox.world.draw import Draw
from ao_pipeline.sandbox.world.records import Change, Json
from ao_pipeline.sandbox.world.size import DAY_MICROS, HOUR_MICROS

_LINE_TEXTS: Final = (
    "Monthly retainer",
    "Film production",
    "Art direction (hours)",
    "Media booking",
    "طباعة وتوزيع",
    "Studio rental",
)
_ACCOUNTS: Final = ("200", "210", "260", "400", "429")
_STALE_STAMP: Final = "/Date(1222340661707+0000)/"
"""One row in 50 shows a change time in 2008, as the vendor's demo company does: no watermark may come from it."""


def xero_date(moment: datetime) -> str:
    """Return `/Date(ms+0000)/`."""
    return f"/Date({int(moment.timestamp() * 1000)}+0000)/"


def _day(micros: int) -> datetime:
    return from_micros(micros).replace(hour=0, minute=0, second=0, microsecond=0)


def _dates(**days: datetime) -> Json:
    fields: Json = {}
    for name, day in days.items():
        fields[f"{name}String"] = day.strftime("%Y-%m-%dT%H:%M:%S")
        fields[name] = xero_date(day)
    return fields


def contact_id(agency: Agency, index: int) -> str:
    """Return the id of contact number `index`; the first ones are the clients."""
    return Draw(agency.seed, "contact", index).uuid()


def contacts(agency: Agency) -> list[Json]:
    """Return the contacts: clients, suppliers, and an archived double of every tenth client."""
    made = []
    for index in range(agency.size.contacts):
        client = agency.clients[index] if index < len(agency.clients) else None
        is_double = client is None and index % 10 == 9
        vendor = names.VENDORS[index % len(names.VENDORS)]
        name = f"{vendor.title()} {index}" if client is None else client.xero_contact_name or client.name
        email = f"billing@{vendor}.example" if client is None else f"accounts@{client.domain}"
        if is_double:
            original = agency.clients[index % len(agency.clients)]
            name, email = (original.xero_contact_name or original.name) + " ", f"old@{original.domain}"
        contact: Json = {
            "ContactID": contact_id(agency, index),
            "ContactStatus": "ARCHIVED" if is_double else "ACTIVE",
            "Name": name,
            "EmailAddress": email,
            "Addresses": [{"AddressType": "POBOX"}],
            "Phones": [{"PhoneType": "DEFAULT", "PhoneNumber": ""}],
            "UpdatedDateUTC": "",
            "IsSupplier": client is None,
            "IsCustomer": client is not None or is_double,
            "HasAttachments": False,
            "HasValidationErrors": False,
        }
        if client is not None:
            contact["DefaultCurrency"] = client.currency
        if is_double and index % 20 == 19:
            contact["MergedToContactID"] = contact_id(agency, index % len(agency.clients))
        made.append(contact)
    return made


def invoice_life(agency: Agency, number: int, birth: int) -> list[Change]:
    """Return every change of one invoice, its payments and its credit note."""
    draw = Draw(agency.seed, "invoice", number)
    invoice = _draft(agency, draw, number, birth)
    key = invoice["InvoiceID"]
    changes = [Change(birth, "invoices", key, 0, "put", invoice)]
    issued = birth + HOUR_MICROS + draw.below(DAY_MICROS)
    fate = draw.fraction()
    if fate < 0.05:
        return [*changes, Change(issued, "invoices", key, 1, "patch", {"Status": "DELETED", "AmountDue": 0.0})]
    changes.append(Change(issued, "invoices", key, 1, "patch", {"Status": "AUTHORISED", "SentToContact": True}))
    if fate < 0.10:
        voided = {"Status": "VOIDED", "AmountDue": 0.0, "LineItems": []}
        return [*changes, Change(issued + draw.below(20 * DAY_MICROS), "invoices", key, 2, "patch", voided)]
    if fate < 0.15:
        changes += _credit(draw, invoice, issued + draw.between(1, 10) * DAY_MICROS)
        return changes
    # A tenth is never paid; the others are paid around the due date, late ones very late.
    if fate > 0.25:
        delay = draw.between(10, 45) if draw.chance(0.7) else draw.between(45, 130)
        changes += _payments(draw, invoice, issued + delay * DAY_MICROS + draw.below(DAY_MICROS))
    return changes


def _draft(agency: Agency, draw: Draw, number: int, birth: int) -> Json:
    is_bill = draw.chance(0.2)
    clients = len(agency.clients)
    index = draw.between(clients, agency.size.contacts - 1) if is_bill else draw.skewed(range(clients))
    contact = _contact_name(agency, index)
    currency = draw.pick(("AED", "USD")) if is_bill else agency.clients[index].currency
    lines = [_line(draw) for _ in range(draw.pick((1, 2, 2, 3, 3, 5)))]
    subtotal = round(sum(line["LineAmount"] for line in lines), 2)
    tax = round(sum(line["TaxAmount"] for line in lines), 2)
    day = _day(birth)
    invoice: Json = {
        "Type": "ACCPAY" if is_bill else "ACCREC",
        "InvoiceID": draw.uuid(),
        "InvoiceNumber": f"BILL-{number % 10_000:04d}" if is_bill else f"INV-{number:05d}",
        "Reference": draw.pick(("", "PO-1182", "Retainer", "مرجع 7")),
        "Payments": [],
        "CreditNotes": [],
        "Prepayments": [],
        "Overpayments": [],
        "AmountDue": round(subtotal + tax, 2),
        "AmountPaid": 0.0,
        "AmountCredited": 0.0,
        "CurrencyRate": 1.0,
        "IsDiscounted": False,
        "HasAttachments": False,
        "HasErrors": False,
        "SentToContact": False,
        "Contact": {"ContactID": contact_id(agency, index), "Name": contact, "HasValidationErrors": False},
        **_dates(Date=day),
        "Status": "DRAFT",
        "LineAmountTypes": "Exclusive",
        "LineItems": lines,
        "SubTotal": subtotal,
        "TotalTax": tax,
        "Total": round(subtotal + tax, 2),
        "UpdatedDateUTC": "",
        "CurrencyCode": currency,
    }
    # A draft may lack a due date; the rules downstream must not invent one.
    if not draw.chance(0.04):
        invoice |= _dates(DueDate=day + timedelta(days=draw.pick((14, 30, 30, 45, 60))))
    return invoice


def _contact_name(agency: Agency, index: int) -> str:
    if index < len(agency.clients):
        client = agency.clients[index]
        return client.xero_contact_name or client.name
    return f"{names.VENDORS[index % len(names.VENDORS)].title()} {index}"


def _line(draw: Draw) -> Json:
    quantity = float(draw.pick((1, 1, 2, 8, 12.5)))
    unit = round(draw.between(200, 9_000) + draw.pick((0, 0.5, 0.25, 0.99)), 2)
    amount = round(quantity * unit, 2)
    return {
        "Description": draw.pick(_LINE_TEXTS),
        "UnitAmount": unit,
        "TaxType": "OUTPUT",
        "TaxAmount": round(amount * 0.05, 2),
        "LineAmount": amount,
        "AccountCode": draw.pick(_ACCOUNTS),
        "Tracking": [],
        "Quantity": quantity,
        "LineItemID": draw.uuid(),
    }


def _credit(draw: Draw, invoice: Json, at: int) -> list[Change]:
    credited = round(invoice["Total"] * 0.25, 2)
    note: Json = {
        "CreditNoteID": draw.uuid(),
        "CreditNoteNumber": f"CN-{invoice['InvoiceNumber'][-5:]}",
        "Type": "ACCRECCREDIT" if invoice["Type"] == "ACCREC" else "ACCPAYCREDIT",
        "Status": "PAID",
        "Contact": invoice["Contact"],
        **_dates(Date=_day(at)),
        "LineAmountTypes": "Exclusive",
        "LineItems": [],
        "SubTotal": credited,
        "TotalTax": 0.0,
        "Total": credited,
        "CurrencyCode": invoice["CurrencyCode"],
        "RemainingCredit": 0.0,
        "Allocations": [
            {"Amount": credited, "Date": xero_date(_day(at)), "Invoice": {"InvoiceID": invoice["InvoiceID"]}}
        ],
        "UpdatedDateUTC": "",
    }
    patch = {"AmountCredited": credited, "AmountDue": round(invoice["Total"] - credited, 2)}
    return [
        Change(at, "credit_notes", note["CreditNoteID"], 0, "put", note),
        Change(at, "invoices", invoice["InvoiceID"], 3, "patch", patch),
    ]


def _payments(draw: Draw, invoice: Json, at: int) -> list[Change]:
    changes: list[Change] = []
    total, key, paid = invoice["Total"], invoice["InvoiceID"], 0.0
    shares = (0.5, 1.0) if draw.chance(0.2) else (1.0,)
    for step, share in enumerate(shares, start=4):
        amount = round(total * share - paid, 2)
        paid = round(paid + amount, 2)
        payment = build_payment(draw.uuid(), invoice, amount, at)
        changes.append(Change(at, "payments", payment["PaymentID"], 0, "put", payment))
        patch: Json = {"AmountPaid": paid, "AmountDue": round(total - paid, 2)}
        if share == 1.0:
            patch |= {"Status": "PAID", **_dates(FullyPaidOnDate=_day(at))}
        changes.append(Change(at, "invoices", key, step, "patch", patch))
        at += draw.between(2, 25) * DAY_MICROS
    if draw.chance(0.08):
        # A payment taken back: the payment stays in the list as DELETED, the invoice is open again.
        changes.append(Change(at, "payments", payment["PaymentID"], 1, "patch", {"Status": "DELETED"}))
        rest = round(paid - amount, 2)
        reopened = {"Status": "AUTHORISED", "AmountPaid": rest, "AmountDue": round(total - rest, 2)}
        changes.append(Change(at, "invoices", key, 8, "patch", reopened))
    return changes


def build_payment(payment_id: str, invoice: Json, amount: float, at: int) -> Json:
    """Return a payment of an invoice."""
    return {
        "PaymentID": payment_id,
        **_dates(Date=_day(at)),
        "Amount": amount,
        "BankAmount": amount,
        "CurrencyRate": 1.0,
        "PaymentType": "ACCRECPAYMENT" if invoice["Type"] == "ACCREC" else "ACCPAYPAYMENT",
        "Status": "AUTHORISED",
        "IsReconciled": False,
        "HasAccount": True,
        "Invoice": {key: invoice[key] for key in ("InvoiceID", "InvoiceNumber", "Type", "CurrencyCode", "Contact")},
        "UpdatedDateUTC": "",
    }


def stamp_xero(data: Json, at: int, _sequence: int) -> None:
    """Write the change time as Xero shows it."""
    number = data.get("InvoiceNumber", "").rpartition("-")[2]
    is_stale = number.isdigit() and int(number) % 50 == 13
    data["UpdatedDateUTC"] = _STALE_STAMP if is_stale else f"/Date({at // 1000}+0000)/"
