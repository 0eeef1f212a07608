"""Xero accounting: contacts, invoices, payments, credit notes. Absent fields are usual, null is not.

Source: Xero Accounting API 2.0, `GET /Contacts`, `/Invoices`, `/Payments`, `/CreditNotes`; MIT description.
"""

from __future__ import annotations

from typing import Final

from ao_pipeline.collect.contracts.contract import (
    BOOLEAN,
    COUNT,
    NUMBER,
    TEXT,
    PageContract,
    RecordContract,
    list_of,
    object_of,
)


def _page(operation: str, items: str, key: str) -> PageContract:
    return PageContract(
        operation,
        items,
        key,
        is_empty_legal=False,
        known_keys=frozenset({"Id", "Status", "ProviderName", "DateTimeUTC", "pagination", "Warnings"}),
        extra={"DateTimeUTC": TEXT, "pagination": object_of(pageCount=COUNT, itemCount=COUNT)},
    )


CONTACTS_PAGE: Final = _page("xero.contacts.list", "Contacts", "ContactID")
INVOICES_PAGE: Final = _page("xero.invoices.list", "Invoices", "InvoiceID")
PAYMENTS_PAGE: Final = _page("xero.payments.list", "Payments", "PaymentID")
CREDIT_NOTES_PAGE: Final = _page("xero.creditNotes.list", "CreditNotes", "CreditNoteID")

CONTACT: Final = RecordContract(
    name="xero.contact",
    key_field="ContactID",
    properties={
        "Name": TEXT,
        "EmailAddress": TEXT,
        "ContactStatus": TEXT,
        "IsCustomer": BOOLEAN,
        "IsSupplier": BOOLEAN,
        "DefaultCurrency": TEXT,
        "MergedToContactID": TEXT,
        "UpdatedDateUTC": TEXT,
    },
    known_fields=frozenset(
        [
            "ContactNumber",
            "AccountNumber",
            "FirstName",
            "LastName",
            "CompanyNumber",
            "ContactPersons",
            "BankAccountDetails",
            "TaxNumber",
            "TaxNumberType",
            "AccountsReceivableTaxType",
            "AccountsPayableTaxType",
            "Addresses",
            "Phones",
            "SalesDefaultLineAmountType",
            "PurchasesDefaultLineAmountType",
            "XeroNetworkKey",
            "SalesDefaultAccountCode",
            "PurchasesDefaultAccountCode",
            "SalesTrackingCategories",
            "PurchasesTrackingCategories",
            "TrackingCategoryName",
            "TrackingCategoryOption",
            "PaymentTerms",
            "UpdatedDateUTCString",
            "ContactGroups",
            "Website",
            "BrandingTheme",
            "BatchPayments",
            "Discount",
            "Balances",
            "Attachments",
            "HasAttachments",
            "ValidationErrors",
            "HasValidationErrors",
            "StatusAttributeString",
        ]
    ),
    enums={"ContactStatus": frozenset({"ACTIVE", "ARCHIVED", "GDPRREQUEST"})},
)

INVOICE: Final = RecordContract(
    name="xero.invoice",
    key_field="InvoiceID",
    properties={
        "Type": TEXT,
        "Status": TEXT,
        "InvoiceNumber": TEXT,
        "Reference": TEXT,
        "Contact": object_of(ContactID=TEXT, Name=TEXT),
        "CurrencyCode": TEXT,
        "Date": TEXT,
        "DateString": TEXT,
        "DueDate": TEXT,
        "DueDateString": TEXT,
        "Total": NUMBER,
        "AmountDue": NUMBER,
        "AmountPaid": NUMBER,
        "AmountCredited": NUMBER,
        "FullyPaidOnDate": TEXT,
        "LineItems": list_of(
            object_of(
                LineItemID=TEXT,
                Description=TEXT,
                Quantity=NUMBER,
                UnitAmount=NUMBER,
                LineAmount=NUMBER,
                AccountCode=TEXT,
            )
        ),
        "UpdatedDateUTC": TEXT,
    },
    known_fields=frozenset(
        [
            "LineAmountTypes",
            "BrandingThemeID",
            "Url",
            "CurrencyRate",
            "SentToContact",
            "ExpectedPaymentDate",
            "PlannedPaymentDate",
            "ExpectedPaymentDateString",
            "PlannedPaymentDateString",
            "FullyPaidOnDateString",
            "CISDeduction",
            "CISRate",
            "SubTotal",
            "TotalTax",
            "TotalDiscount",
            "RepeatingInvoiceID",
            "HasAttachments",
            "IsDiscounted",
            "Payments",
            "Prepayments",
            "Overpayments",
            "UpdatedDateUTCString",
            "CreditNotes",
            "Attachments",
            "HasErrors",
            "StatusAttributeString",
            "ValidationErrors",
            "Warnings",
            "InvoiceAddresses",
        ]
    ),
    enums={
        "Type": frozenset(
            [
                "ACCREC",
                "ACCPAY",
                "ACCPAYCREDIT",
                "ACCRECCREDIT",
                "APOVERPAYMENT",
                "APPREPAYMENT",
                "AROVERPAYMENT",
                "ARPREPAYMENT",
            ]
        ),
        "Status": frozenset({"DRAFT", "SUBMITTED", "AUTHORISED", "PAID", "VOIDED", "DELETED"}),
    },
)

_DOCUMENT: Final = object_of(CurrencyCode=TEXT)
PAYMENT: Final = RecordContract(
    name="xero.payment",
    key_field="PaymentID",
    properties={
        "PaymentType": TEXT,
        "Status": TEXT,
        "Invoice": object_of(InvoiceID=TEXT, InvoiceNumber=TEXT, CurrencyCode=TEXT),
        "CreditNote": object_of(CreditNoteID=TEXT, CurrencyCode=TEXT),
        "Prepayment": _DOCUMENT,
        "Overpayment": _DOCUMENT,
        "Reference": TEXT,
        "Date": TEXT,
        "DateString": TEXT,
        "Amount": NUMBER,
        "IsReconciled": BOOLEAN,
        "UpdatedDateUTC": TEXT,
    },
    known_fields=frozenset(
        [
            "Account",
            "BankAccountNumber",
            "BankAmount",
            "BatchPayment",
            "BatchPaymentID",
            "Code",
            "CreditNoteNumber",
            "CurrencyRate",
            "Details",
            "HasAccount",
            "HasValidationErrors",
            "InvoiceNumber",
            "Particulars",
            "StatusAttributeString",
            "UpdatedDateUTCString",
            "ValidationErrors",
            "Warnings",
        ]
    ),
    enums={"Status": frozenset({"AUTHORISED", "DELETED"})},
)

CREDIT_NOTE: Final = RecordContract(
    name="xero.creditNote",
    key_field="CreditNoteID",
    properties={
        "Type": TEXT,
        "Status": TEXT,
        "CreditNoteNumber": TEXT,
        "Reference": TEXT,
        "Contact": object_of(ContactID=TEXT, Name=TEXT),
        "CurrencyCode": TEXT,
        "Date": TEXT,
        "DateString": TEXT,
        "FullyPaidOnDate": TEXT,
        "Total": NUMBER,
        "RemainingCredit": NUMBER,
        "Allocations": list_of(object_of(Invoice=object_of(InvoiceID=TEXT), Amount=NUMBER, Date=TEXT)),
        "UpdatedDateUTC": TEXT,
    },
    known_fields=INVOICE.known_fields | {"AppliedAmount", "DueDate", "DueDateString", "LineItems"},
    enums={"Type": frozenset({"ACCPAYCREDIT", "ACCRECCREDIT"}), "Status": INVOICE.enums["Status"]},
)
