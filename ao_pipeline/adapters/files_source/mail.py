"""Mails out of mbox files, Maildirs and folders of single mails.

Two passes: the first reads every mail's headers into an index of its whole mailbox, so that threads reach over files and
copies are told from mails that only share an id; the second parses the mails of the files that changed, one at a time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ao_pipeline.adapters.files_source.folder import PEEK_BYTES, Found, Kind, mail_files
from ao_pipeline.adapters.files_source.intake import FilesRequest, Intake, collect_changed, in_order
from ao_pipeline.adapters.files_source.reading import chunks, read_range
from ao_pipeline.collect.contracts.google import MAIL
from ao_pipeline.collect.files.mail import (
    Identity,
    fingerprint,
    folder_label,
    identify,
    mail_record,
    parse_mail,
    raw_digest,
)
from ao_pipeline.collect.files.mail_parts import MAX_HEADER_BYTES
from ao_pipeline.collect.files.mbox import separator_line, split_mbox, unix_ends
from ao_pipeline.collect.files.threads import MailIndex
from ao_pipeline.collect.result import Collected
from ao_pipeline.collect.tables import RAW_GMAIL_MESSAGES
from ao_pipeline.errors import TransientError

KINDS: Final = (Kind.MBOX, Kind.MAILS)

MAX_MAIL_BYTES: Final = 32 << 20
"""Bytes read of one mail; Gmail refuses larger ones. What lies beyond is the end of an attachment."""

_HEAD_BYTES: Final = 16 * 1024
"""Bytes read of a mail to index it; nearly all headers end before."""

_CACHE: Final = 2_000
"""Mails, and groups of mails that share an id, of which the fingerprints are kept."""

_MAX_COUNT_DIGITS: Final = 12
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_NOTHING: Final = b" \t\r\n" + _BYTE_ORDER_MARK


def collect_messages(request: FilesRequest, units: list[Found]) -> Collected:
    """Collect `raw/gmail_messages` from files."""
    intake = Intake(request, RAW_GMAIL_MESSAGES, MAIL, parse_mail)
    mailboxes = _Mailboxes(in_order(units, request.known))

    def read(unit: Found, position: int, target: Intake) -> Iterator[int]:
        return mailboxes.of(unit).read(unit, position, target)

    return collect_changed(request, units, intake, read)


class _Mailboxes:
    """Indexes by mailbox, made when a file of the mailbox is to be read."""

    def __init__(self, units: list[Found]) -> None:
        self._units = units
        self._made: tuple[str, _Mailbox] | None = None

    def of(self, unit: Found) -> _Mailbox:
        owner = mailbox_of(unit)
        if self._made is None or self._made[0] != owner:
            self._made = owner, _Mailbox(owner, [other for other in self._units if mailbox_of(other) == owner])
        return self._made[1]


def mailbox_of(unit: Found) -> str:
    """Return the mailbox of a unit: subfolders of a Maildir belong to it."""
    parts = unit.name.split("/")
    if unit.kind is Kind.MAILS and parts[-1].startswith(".") and len(parts) > 1:
        return Found(unit.kind, unit.path.parent, "/".join(parts[:-1]), 0, 0).owner
    return unit.owner


@dataclass
class _Group:
    """Mails of one mailbox that share an id, as far as they have been read.

    Attributes:
        through: The place in the index that was reached.
        marks: Their keys with their fingerprints.
        keys: Their keys: ids that share a digest by chance differ here.
    """

    through: int = 0
    marks: set[tuple[str, str]] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)


class _Mailbox:
    """One mailbox: its index, and its mails on demand."""

    def __init__(self, owner: str, units: list[Found]) -> None:
        self._owner = owner
        self._units = units
        self._numbers = {unit.name: number for number, unit in enumerate(units)}
        self._files = {unit.name: mail_files(unit) for unit in units if unit.kind is Kind.MAILS}
        self._firsts: list[int] = []
        self._marks: OrderedDict[int, tuple[str, str]] = OrderedDict()
        self._groups: OrderedDict[int, _Group] = OrderedDict()
        self._index = MailIndex()
        for number, unit in enumerate(units):
            self._firsts.append(len(self._index))
            for start, length in self._places(unit, 0):
                identity, key = self._identify(unit, start, length)
                self._index.add(identity, key=key, file=number, start=start, length=length)

    def read(self, unit: Found, position: int, intake: Intake) -> Iterator[int]:
        """Take in the mails of one unit from a place on; yield the place behind each."""
        number = self._numbers[unit.name]
        index = self._index
        for mail in range(self._firsts[number], len(index)):
            if index.files[mail] != number:
                return
            if index.places[mail] < position:
                continue
            self._take(unit, mail, intake)
            following = index.places[mail] + (index.lengths[mail] if unit.kind is Kind.MBOX else 1)
            yield following

    def _take(self, unit: Found, mail: int, intake: Intake) -> None:
        index = self._index
        raw, envelope = self._raw(unit, index.places[mail], index.lengths[mail], MAX_MAIL_BYTES)
        if not raw.strip(_NOTHING):
            # Between a separator and the next there may be nothing; before the first it is no mail.
            if envelope or unit.kind is Kind.MAILS:
                intake.count("mail_empty")
            return
        if index.lengths[mail] > MAX_MAIL_BYTES:
            intake.count("mail_cut")
        key = identify(raw).message_id or raw_digest(raw)
        if index.is_shared(mail):
            group = self._group(mail)
            own = self._mark(mail)[1]
            if (key, own) in group.marks:
                intake.count("mail_copies")
                return
            if key in group.keys:
                intake.count("mail_ids_reused")
                key = f"{key}~{own}"
        record = mail_record(
            raw,
            message_id=key,
            thread_id=self._thread(mail, key),
            envelope=envelope,
            labels=self._labels(unit, index.places[mail]),
            size_bytes=index.lengths[mail],
        )
        if record["internalDate"] is None:
            intake.count("mail_without_date")
        intake.add(record, size=2_000 + min(len(raw), 100_000), scope={"mailbox": self._owner})

    def _group(self, mail: int) -> _Group:
        """Return what is known of the mails before this one that share its id: each is read once."""
        index = self._index
        group = self._groups.setdefault(index.group(mail), _Group())
        self._groups.move_to_end(index.group(mail))
        if len(self._groups) > _CACHE:
            self._groups.popitem(last=False)
        for other in index.between(mail, begin=group.through):
            mark = self._mark(other)
            group.marks.add(mark)
            group.keys.add(mark[0])
        group.through = mail
        return group

    def _thread(self, mail: int, key: str) -> str:
        root = self._index.root(mail)
        if root.position == mail and not root.is_named:
            own = self._identify(*self._where(mail))[0]
            return own.thread or key
        identity, root_key = self._identify(*self._where(root.position))
        own = identity if root.position == mail else self._identify(*self._where(mail))[0]
        if own.thread:
            return own.thread
        return (identity.root_id or identity.parent_id) if root.is_named else identity.thread or root_key

    def _where(self, mail: int) -> tuple[Found, int, int]:
        index = self._index
        return self._units[index.files[mail]], index.places[mail], index.lengths[mail]

    def _mark(self, mail: int) -> tuple[str, str]:
        """Return a mail's key and fingerprint."""
        found = self._marks.get(mail)
        if found is None:
            raw, envelope = self._raw(*self._where(mail), MAX_MAIL_BYTES)
            record = mail_record(raw, message_id="-", thread_id="-", envelope=envelope, labels=(), size_bytes=0)
            found = self._marks[mail] = identify(raw).message_id or raw_digest(raw), fingerprint(record)
            if len(self._marks) > _CACHE:
                self._marks.popitem(last=False)
        return found

    def _identify(self, unit: Found, start: int, length: int) -> tuple[Identity, str]:
        raw, _ = self._raw(unit, start, length, _HEAD_BYTES)
        if len(raw) >= _HEAD_BYTES - 1000 and b"\n\n" not in raw and b"\n\r\n" not in raw:
            raw, _ = self._raw(unit, start, length, MAX_HEADER_BYTES)
        identity = identify(raw)
        if identity.message_id:
            return identity, identity.message_id
        return identity, raw_digest(self._raw(unit, start, length, MAX_MAIL_BYTES)[0])

    def _raw(self, unit: Found, start: int, length: int, limit: int) -> tuple[bytes, str]:
        """Return a mail's bytes and its separator line."""
        if unit.kind is Kind.MAILS:
            path = self._files[unit.name][start]
            raw = read_range(path, 0, limit)
            if path.suffix.lower() == ".emlx":
                # Apple writes the length on a line of its own before the mail, and its own notes behind it.
                count, _, rest = raw.partition(b"\n")
                digits = count.strip()
                raw = rest[: int(digits)] if digits.isdigit() and len(digits) <= _MAX_COUNT_DIGITS else raw
            return _without_lead(unix_ends(raw)), ""
        raw = unix_ends(read_range(unit.path, start, min(length, limit)))
        line, body = separator_line(raw)
        return _without_lead(raw[body:]), line.decode("latin-1")

    def _places(self, unit: Found, start: int) -> Iterator[tuple[int, int]]:
        if unit.kind is Kind.MAILS:
            for number, path in enumerate(self._files[unit.name]):
                try:
                    yield number, path.stat().st_size
                except OSError as error:
                    raise TransientError(f"{path.name} vanished; its folder is read in the next cycle") from error
            return
        head = read_range(unit.path, 0, PEEK_BYTES)
        pieces = chunks(unit.path, start)
        if unix_ends(head) is not head:
            head, pieces = unix_ends(head), (piece.replace(b"\r", b"\n") for piece in pieces)
        for segment in split_mbox(pieces, head=head, start=start):
            yield segment.start, segment.end - segment.start

    def _labels(self, unit: Found, place: int) -> set[str]:
        if unit.kind is Kind.MBOX:
            return folder_label(unit.path.stem)
        labels = folder_label(unit.path.name)
        path: Path = self._files[unit.name][place]
        if path.parent.name in ("cur", "new"):
            flags = path.name.rpartition(":2,")[2] if ":2," in path.name else ""
            letters = {"F": "STARRED", "D": "DRAFT", "T": "TRASH"}
            labels |= {label for letter, label in letters.items() if letter in flags}
            labels |= set() if "S" in flags else {"UNREAD"}
        return labels


def _without_lead(raw: bytes) -> bytes:
    """Return a mail without what may stand before its first field: a byte order mark, empty lines."""
    return raw.removeprefix(_BYTE_ORDER_MARK).lstrip(b"\r\n")
