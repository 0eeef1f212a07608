"""Which client a mail is about: known addresses first, then domains, then names in the subject, then its thread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ao_pipeline.collect.reference_tables import REF_BRANDS, REF_CLIENT_IDENTITIES, REF_CLIENTS
from ao_pipeline.normalize.rows import Frame, Row, fold_name, has_words, load_list, read_rows, sort_rows
from ao_pipeline.normalize.tables import NORM_MESSAGE_LINKS, NORM_MESSAGES

MESSAGE_LINKS_VERSION: Final = "1"

MIN_NAME_CHARACTERS: Final = 4
"""Shorter names are words (`Sun`, `Arc`) and would claim mail that is about something else."""

_Found = tuple[str | None, str, str]  # client_id, link_status, rule
_NONE: Final[_Found] = (None, "unlinked", "none")


def link_messages(messages: Frame, *, identities: Frame, clients: Frame, brands: Frame) -> list[Row]:
    """Find the client of every mail.

    Args:
        messages: `norm_messages`.
        identities: `ref_client_identities`; an identity of a client that does not exist is passed over.
        clients: `ref_clients`: names and aliases.
        brands: `ref_brands`: names.

    Returns:
        Rows of `norm_message_links`. Where two clients fit equally well the mail is `ambiguous` and has no client.
    """
    client_rows = read_rows(clients, REF_CLIENTS)
    client_ids = {row["client_id"] for row in client_rows}
    known = {
        (row["kind"], row["value"]): row["client_id"]
        for row in read_rows(identities, REF_CLIENT_IDENTITIES)
        if row["client_id"] in client_ids
    }
    names = _names(client_rows, [row for row in read_rows(brands, REF_BRANDS) if row["client_id"] in client_ids])
    message_rows = read_rows(messages, NORM_MESSAGES)
    by_subject: dict[str, _Found] = {}
    found: list[_Found] = [_find(message, known, names, by_subject) for message in message_rows]
    threads = _clients_of_threads(message_rows, found)
    rows = []
    for message, (client_id, status, rule) in zip(message_rows, found, strict=True):
        in_thread = threads.get((message["mailbox"], message["thread_id"]), set())
        if status == "unlinked" and len(in_thread) == 1:
            client_id, status, rule = min(in_thread), "linked", "thread"
        rows.append(
            {
                "mailbox": message["mailbox"],
                "message_id": message["message_id"],
                "client_id": client_id,
                "link_status": status,
                "rule": rule,
            }
        )
    return sort_rows(rows, NORM_MESSAGE_LINKS)


def _find(
    message: Row,
    known: Mapping[tuple[str, str], str],
    names: list[tuple[str, frozenset[str]]],
    by_subject: dict[str, _Found],
) -> _Found:
    if message["direction"] == "internal":
        return None, "not_applicable", "internal"
    email = message["counterpart_email"]
    if email is not None and ("email", email) in known:
        return known["email", email], "linked", "identity_email"
    # `mail.brand.example` belongs to whoever owns `brand.example`; the longest declared domain wins.
    labels = (message["counterpart_domain"] or "").split(".")
    for start in range(len(labels) - 1):
        domain = ".".join(labels[start:])
        if ("domain", domain) in known:
            return known["domain", domain], "linked", "identity_domain"
    subject = fold_name(message["subject"])
    if subject not in by_subject:
        by_subject[subject] = _by_subject(subject, names)
    return by_subject[subject]


def _by_subject(subject: str, names: list[tuple[str, frozenset[str]]]) -> _Found:
    hits = [(words, owners) for words, owners in names if has_words(subject, words)]
    if not hits:
        return _NONE
    longest = max(len(words) for words, _ in hits)
    owners = sorted({owner for words, owners in hits if len(words) == longest for owner in owners})
    return (owners[0], "linked", "subject_name") if len(owners) == 1 else (None, "ambiguous", "subject_name")


def _names(clients: list[Row], brands: list[Row]) -> list[tuple[str, frozenset[str]]]:
    owners: dict[str, set[str]] = {}
    for client in clients:
        for name in (client["name"], *load_list(client["aliases_json"])):
            owners.setdefault(fold_name(name), set()).add(client["client_id"])
    for brand in brands:
        owners.setdefault(fold_name(brand["name"]), set()).add(brand["client_id"])
    return sorted((words, frozenset(ids)) for words, ids in owners.items() if len(words) >= MIN_NAME_CHARACTERS)


def _clients_of_threads(messages: list[Row], found: list[_Found]) -> dict[tuple[str, str], set[str]]:
    threads: dict[tuple[str, str], set[str]] = {}
    for message, (client_id, _, _) in zip(messages, found, strict=True):
        if client_id is not None and message["thread_id"] is not None:
            threads.setdefault((message["mailbox"], message["thread_id"]), set()).add(client_id)
    return threads
