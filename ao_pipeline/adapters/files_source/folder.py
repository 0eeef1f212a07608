"""What lies in the folder of exported files: every file that some reader understands, found by content, not by name alone."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from ao_pipeline.adapters.files_source.reading import chunks
from ao_pipeline.collect.files.tabular import kind_of_header
from ao_pipeline.errors import ConfigError, TransientError

MAX_FILES: Final = 500_000
"""Files looked at. A Maildir of many years fits; a home folder named by mistake ends here."""

PEEK_BYTES: Final = 4096

_ADDRESS: Final = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
_MBOX: Final = re.compile(rb"(\xef\xbb\xbf)?\s*From [^\n]*\n\s{0,4}(>?From |[!-9;-~]{1,200}[ \t]*:)")
_MAPPING_SUFFIX: Final = ".columns.yaml"
_CHAT_MESSAGES: Final = "messages.json"
_CHAT_GROUP: Final = "group_info.json"
_ARCHIVE: Final = "an archive, to be unpacked first"
_ARCHIVE_SUFFIXES: Final = frozenset({".zip", ".tgz", ".tar", ".gz", ".bz2", ".xz", ".7z", ".rar"})
_ARCHIVE_MARKS: Final = (b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"7z\xbc\xaf", b"Rar!", b"\xfd7zXZ")


class Kind(StrEnum):
    """What a file is."""

    MBOX = "mbox"
    MAILS = "mails"
    CALENDAR = "calendar"
    ASANA_CSV = "asana_csv"
    ASANA_JSON = "asana_json"
    INVOICES_CSV = "invoices_csv"
    CHAT_MESSAGES = "chat_messages"
    CHAT_GROUP = "chat_group"


@dataclass(frozen=True)
class Found:
    """One unit that is read and remembered as a whole: a file, or a Maildir with all its mails.

    Attributes:
        kind: What it is.
        path: Where it is.
        name: Its path inside the folder, with slashes.
        size_bytes: Its size; of a Maildir the number of its mails.
        modified_ns: When it was last written; of a Maildir a digest of its listing.
        mapping: The column mapping beside a CSV file.
    """

    kind: Kind
    path: Path
    name: str
    size_bytes: int
    modified_ns: int
    mapping: Path | None = None

    @property
    def owner(self) -> str:
        """Mailbox or calendar: the address in the file's or a folder's name, else `file:` and the name.

        All mails of a folder `Mail` are one account's: Google Takeout writes one file per label.
        """
        parts = self.name.split("/")
        stem = parts[-1].removesuffix(self.path.suffix) if self.kind is not Kind.MAILS else parts[-1]
        for part in (stem, *reversed(parts[:-1])):
            match = _ADDRESS.search(part)
            if match is not None:
                return match.group().lower()
        if self.kind is Kind.MBOX and len(parts) > 1 and parts[-2].lower() == "mail":
            return f"file:{'/'.join(parts[:-1])}"
        if stem.lower() in ("mbox", "") and len(parts) > 1:
            stem = parts[-2].removesuffix(".mbox")
        return f"file:{stem}"


@dataclass(frozen=True)
class Ignored:
    """A file of the folder that no reader understands."""

    name: str
    reason: str

    @property
    def is_archive(self) -> bool:
        """Whether it has to be unpacked before it can be read."""
        return self.reason == _ARCHIVE


def scan(root: Path) -> list[Found]:
    """Return every file that can be read, in the order of their names.

    Raises:
        ConfigError: The folder is missing, no folder, holds more than `MAX_FILES` files, or nothing but archives.
    """
    found, ignored = survey(root)
    archives = [file.name for file in ignored if file.is_archive]
    if archives and not found:
        raise ConfigError(
            f"AO_FILES_DIR names {root}, where nothing can be read before {archives[0]} is unpacked "
            f"({len(archives)} archives); unpack them there"
        )
    return found


def survey(root: Path) -> tuple[list[Found], list[Ignored]]:
    """Return what can be read and what cannot, each in the order of the names.

    Raises:
        ConfigError: The folder is missing, no folder, or holds more than `MAX_FILES` files.
    """
    if not root.is_dir():
        raise ConfigError(
            f"AO_FILES_DIR names {root}, which is no folder; name the folder of your exports, or unset it"
        )
    found: list[Found] = []
    ignored: list[Ignored] = []
    for folder, names in _walk(root):
        if _is_maildir(folder):
            found.append(_mails(root, folder, maildir_files(folder)))
            continue
        loose = loose_files(folder)
        if loose:
            found.append(_mails(root, folder, loose))
        mails = {path.name for path in loose}
        for name in names:
            if name in mails or name.endswith(_MAPPING_SUFFIX):
                continue
            file = _recognize(root, folder / name, set(names))
            if isinstance(file, Found):
                found.append(file)
            else:
                ignored.append(file)
    return sorted(found, key=lambda file: file.name), sorted(ignored, key=lambda file: file.name)


def _walk(root: Path) -> Iterator[tuple[Path, list[str]]]:
    seen = 0
    for folder, folders, names in os.walk(root):
        here = Path(folder)
        if _is_maildir(here):
            folders[:] = [name for name in folders if name not in ("cur", "new", "tmp")]
        # Maildir++ keeps its subfolders hidden; every other hidden thing is the file system's own.
        folders[:] = sorted(name for name in folders if not name.startswith(".") or _is_maildir(here / name))
        kept = sorted(name for name in names if not name.startswith("."))
        seen += len(kept)
        if seen > MAX_FILES:
            raise ConfigError(f"AO_FILES_DIR holds more than {MAX_FILES} files; name the folder of the exports alone")
        yield here, kept


def _is_maildir(folder: Path) -> bool:
    return (folder / "cur").is_dir() and (folder / "new").is_dir()


def maildir_files(folder: Path) -> list[Path]:
    """Return the mails of a Maildir, in the order of their unique names, flags and state aside."""
    files = (path for part in ("cur", "new") for path in _visible_files(folder / part))
    return sorted(files, key=lambda path: path.name.partition(":")[0])


def loose_files(folder: Path) -> list[Path]:
    """Return the single mails of a folder."""
    return sorted(path for path in _visible_files(folder) if path.suffix.lower() in (".eml", ".emlx"))


def _visible_files(folder: Path) -> Iterator[Path]:
    """Yield the files that can be read; hidden ones are the file system's own, such as a Mac's `._` twins."""
    try:
        with os.scandir(folder) as entries:
            yield from (Path(entry.path) for entry in entries if not entry.name.startswith(".") and entry.is_file())
    except OSError as error:
        raise TransientError(f"the folder {folder.name} cannot be listed: {error.strerror}") from error


def mail_files(found: Found) -> list[Path]:
    """Return the mails of a Maildir or of a folder of single mails, in a fixed order."""
    return maildir_files(found.path) if _is_maildir(found.path) else loose_files(found.path)


def _mails(root: Path, folder: Path, files: list[Path]) -> Found:
    digest = hashlib.blake2b(digest_size=7)
    for path in files:
        try:
            stat = path.stat()
        except OSError as error:
            raise TransientError(
                f"{path.name} vanished while its folder was listed; the next cycle lists it"
            ) from error
        digest.update(f"{path.name}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode("utf-8", "surrogatepass"))
    name = _relative(root, folder) or root.name
    return Found(Kind.MAILS, folder, name, len(files), int.from_bytes(digest.digest(), "big"))


def _relative(root: Path, path: Path) -> str:
    name = path.relative_to(root).as_posix().encode("utf-8", "replace").decode()
    return "" if name == "." else name


def _recognize(root: Path, path: Path, siblings: set[str]) -> Found | Ignored:
    name = _relative(root, path)
    try:
        stat = path.stat()
        if not path.is_file() or not stat.st_size:
            return Ignored(name, "empty, or no file")
        with path.open("rb") as file:
            head = file.read(PEEK_BYTES)
    except OSError as error:
        # A link that leads nowhere, a file that may not be read: no source, and none of ours to repair.
        return Ignored(name, f"cannot be read: {error.strerror}")
    if head.startswith(_ARCHIVE_MARKS) or path.suffix.lower() in _ARCHIVE_SUFFIXES:
        return Ignored(name, _ARCHIVE)
    mapping = next(
        (m for m in (f"{path.stem}{_MAPPING_SUFFIX}", f"{path.name}{_MAPPING_SUFFIX}") if m in siblings), None
    )
    kind = _kind(path, head, siblings, is_mapped=mapping is not None)
    if kind is None:
        return Ignored(name, "no export that is known")
    return Found(
        kind,
        path,
        name,
        stat.st_size,
        stat.st_mtime_ns,
        path.parent / mapping if mapping is not None and kind is Kind.INVOICES_CSV else None,
    )


def _kind(path: Path, head: bytes, siblings: set[str], *, is_mapped: bool) -> Kind | None:
    suffix = path.suffix.lower()
    if suffix in (".mbox", ".mbx"):
        return Kind.MBOX
    if suffix in (".ics", ".ical", ".ifb"):
        return Kind.CALENDAR
    if suffix in (".csv", ".tsv", ".txt"):
        if is_mapped:
            return Kind.INVOICES_CSV
        return {"asana": Kind.ASANA_CSV, "invoices": Kind.INVOICES_CSV}.get(kind_of_header(head))
    if suffix == ".json":
        if path.name == _CHAT_MESSAGES and b'"messages"' in head:
            return Kind.CHAT_MESSAGES
        if path.name == _CHAT_GROUP and _CHAT_MESSAGES in siblings:
            return Kind.CHAT_GROUP
        return Kind.ASANA_JSON if b'"data"' in head and b'"gid"' in head else None
    if suffix in (".yaml", ".yml", ".html"):
        return None
    if b"\n" not in head:
        head = head.replace(b"\r", b"\n")
    return Kind.MBOX if _MBOX.match(head) else None


def content_digest(found: Found) -> str:
    """Return a digest of a unit's content; the mapping beside a CSV file belongs to it.

    Raises:
        TransientError: It vanished or cannot be read just now.
    """
    if found.kind is Kind.MAILS:
        return f"{found.modified_ns:x}"
    digest = hashlib.blake2b(digest_size=16)
    for path in (found.path, found.mapping):
        if path is not None:
            for chunk in chunks(path):
                digest.update(chunk)
    return digest.hexdigest()
