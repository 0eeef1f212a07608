"""Mail archives: nothing is lost, nothing crashes, nothing comes twice, and memory does not follow the file."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ao_pipeline.adapters.files_source.intake import Limits
from ao_pipeline.collect.files.charsets import decode, plain_words
from ao_pipeline.collect.files.mail import fold_subject
from ao_pipeline.collect.files.mail_dates import read_date
from ao_pipeline.collect.files.mail_parts import build_payload
from ao_pipeline.collect.files.mbox import split_mbox
from ao_pipeline_tests.files.archive import CHARSETS, Archive, write_archive
from ao_pipeline_tests.files.folder_engine import Folder

MAIL = "raw/gmail_messages"
COUNT = 6_000
SEED = 20_261_120


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Archive]:
    root = tmp_path_factory.mktemp("archive")
    return root, write_archive(root / "ops@agency.example.mbox", count=COUNT, seed=SEED)


@pytest.fixture(scope="module")
def read(archive: tuple[Path, Archive]) -> Folder:
    folder = Folder(archive[0], MAIL)
    folder.collect_all()
    return folder


def test_messages_in_are_rows_and_quarantine_and_copies(read: Folder, archive: tuple[Path, Archive]) -> None:
    written = archive[1]

    copies = read.drift["files.mail_copies"]

    assert len(read.rows) + len(read.quarantined) + copies == COUNT
    assert (copies, len(read.quarantined)) == (written.copies, written.garbage)
    assert read.drift["files.mail_ids_reused"] == written.reused


def test_every_charset_arrives_in_subject_sender_and_body(read: Folder, archive: tuple[Path, Archive]) -> None:
    wrong: list[tuple[str, str]] = []
    for (_, key), row in read.rows.items():
        text = archive[1].texts.get(key)
        if text is None:
            continue
        if text not in (row["body_text"] or ""):
            wrong.append((key, f"body {row['body_text']!r}"))
        if row["from_name"] != text:
            wrong.append((key, f"name {row['from_name']!r}"))
        if text not in row["subject"]:
            wrong.append((key, f"subject {row['subject']!r}"))

    assert wrong == []
    assert len(CHARSETS) >= 10


def test_threads_are_rebuilt_from_what_mails_answer(read: Folder, archive: tuple[Path, Archive]) -> None:
    found = {key: row["thread_id"] for (_, key), row in read.rows.items() if key in archive[1].threads}

    assert found == archive[1].threads
    assert len(set(found.values())) < len(found)


def test_a_broken_date_falls_back_to_the_day_of_receipt(read: Folder) -> None:
    years = {row["sent_at"].year for row in read.rows.values()}

    assert years <= {2012, 1970}
    assert "files.mail_without_date" not in read.drift


def test_the_same_folder_twice_gives_no_rows(read: Folder) -> None:
    before = dict(read.rows)

    again = read.collect()

    assert (again.rows.num_rows, again.deleted.num_rows, len(again.quarantined), again.pages) == (0, 0, 0, 0)
    assert read.rows == before


def test_a_bounded_import_ends_with_the_same_rows(tmp_path: Path) -> None:
    write_archive(tmp_path / "b.mbox", count=600, seed=11)
    whole = Folder(tmp_path, MAIL)
    pieces = Folder(tmp_path, MAIL, Limits(rows=110))

    whole.collect_all()
    collections = pieces.collect_all()

    assert collections == 6
    assert pieces.rows == whole.rows
    assert pieces.drift == whole.drift


def test_a_touched_file_is_not_read_again_and_a_changed_one_is(tmp_path: Path) -> None:
    path = tmp_path / "box.mbox"
    write_archive(path, count=30, seed=1)
    folder = Folder(tmp_path, MAIL)
    folder.collect_all()
    path.touch()

    assert folder.collect().pages == 0

    path.write_bytes(path.read_bytes() + mbox(b"Message-ID: <new@x>\nSubject: new\n\nnew\n"))

    assert folder.collect().pages == 1
    assert ("file:box", "new@x") in folder.rows


@pytest.mark.parametrize("change", ["shrink", "vanish"])
def test_a_file_that_shrinks_or_vanishes_deletes_nothing(tmp_path: Path, change: str) -> None:
    path = tmp_path / "box.mbox"
    write_archive(path, count=30, seed=2)
    folder = Folder(tmp_path, MAIL)
    folder.collect_all()
    before = dict(folder.rows)
    if change == "shrink":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        path.unlink()

    collected = folder.collect()

    assert collected.deleted.num_rows == 0
    assert before.keys() <= folder.rows.keys()


def mbox(*mails: bytes) -> bytes:
    separator = b"From a@b Thu Jan  1 10:00:00 2026\n"
    return b"".join(separator + mail + b"\n\n" for mail in mails)


def rows_of(root: Path) -> dict[str, dict[str, object]]:
    folder = Folder(root, MAIL)
    folder.collect_all()
    return {str(row["message_id"]): row for row in folder.rows.values()}


def test_a_sentence_that_starts_with_from_splits_no_mail(tmp_path: Path) -> None:
    text = b"Subject: a\nMessage-ID: <a@x>\n\nFrom now on:\n\nFrom me to you\nNote: this\n\nFrom Mon to Fri 10:00 we work\n"
    (tmp_path / "b.mbox").write_bytes(mbox(text))

    assert list(rows_of(tmp_path)) == ["a@x"]


def test_a_reply_without_references_joins_by_subject(tmp_path: Path) -> None:
    mails = mbox(
        b"Subject: Quarterly budget\nMessage-ID: <a@x>\n\na\n",
        b"Subject: AW: RE: Quarterly  Budget\nMessage-ID: <b@x>\n\nb\n",
        b"Subject: Re: hi\nMessage-ID: <c@x>\n\nc\n",
        b"Subject: Re: hi\nMessage-ID: <d@x>\n\nd\n",
    )
    (tmp_path / "b.mbox").write_bytes(mails)

    threads = {key: row["thread_id"] for key, row in rows_of(tmp_path).items()}

    assert threads == {"a@x": "a@x", "b@x": "a@x", "c@x": "c@x", "d@x": "d@x"}


def test_a_thread_whose_root_is_missing_and_one_that_bites_its_tail(tmp_path: Path) -> None:
    mails = mbox(
        b"Subject: one\nMessage-ID: <a@x>\nReferences: <gone@x>\n\na\n",
        b"Subject: two\nMessage-ID: <b@x>\nIn-Reply-To: <a@x>\n\nb\n",
        b"Subject: three\nMessage-ID: <c@x>\nIn-Reply-To: <d@x>\n\nc\n",
        b"Subject: four\nMessage-ID: <d@x>\nIn-Reply-To: <c@x>\n\nd\n",
    )
    (tmp_path / "b.mbox").write_bytes(mails)

    threads = {key: row["thread_id"] for key, row in rows_of(tmp_path).items()}

    assert threads == {"a@x": "gone@x", "b@x": "gone@x", "c@x": "c@x", "d@x": "c@x"}


def test_a_takeout_is_one_mailbox_with_its_own_threads_and_labels(tmp_path: Path) -> None:
    mail = tmp_path / "Takeout" / "Mail"
    mail.mkdir(parents=True)
    one = b"X-GM-THRID: 1589231984021\nX-Gmail-Labels: Inbox,Opened,=?UTF-8?Q?B=C3=BCro?=\nMessage-ID: <a@x>\nSubject: a\n\na\n"
    (mail / "Inbox.mbox").write_bytes(mbox(one))
    (mail / "Other.mbox").write_bytes(mbox(one, b"Message-ID: <b@x>\nSubject: b\n\nb\n"))
    folder = Folder(tmp_path, MAIL)

    folder.collect_all()

    assert set(folder.rows) == {("file:Takeout/Mail", "a@x"), ("file:Takeout/Mail", "b@x")}
    row = folder.rows["file:Takeout/Mail", "a@x"]
    assert row["thread_id"] == f"{1589231984021:x}"
    assert json.loads(row["labels_json"]) == ["Büro", "INBOX"]
    assert folder.drift["files.mail_copies"] == 1


def test_a_maildir_gives_flags_and_folders(tmp_path: Path) -> None:
    box = tmp_path / "me@agency.example"
    for part in ("cur", "new", "tmp", ".Sent/cur", ".Sent/new", ".Sent/tmp"):
        (box / part).mkdir(parents=True)
    (box / "cur" / "1.x:2,FS").write_bytes(b"Message-ID: <a@x>\nSubject: a\n\na\n")
    (box / "new" / "2.x").write_bytes(b"Message-ID: <b@x>\nSubject: b\n\nb\n")
    (box / ".Sent" / "cur" / "3.x:2,S").write_bytes(b"Message-ID: <c@x>\nSubject: c\n\nc\n")
    folder = Folder(tmp_path, MAIL)

    folder.collect_all()

    labels = {key: json.loads(row["labels_json"]) for key, row in folder.rows.items()}
    assert labels == {
        ("me@agency.example", "a@x"): ["STARRED"],
        ("me@agency.example", "b@x"): ["UNREAD"],
        ("me@agency.example", "c@x"): ["SENT"],
    }
    assert folder.collect().pages == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Thu, 1 Jan 2026 10:00:00 +0400", datetime(2026, 1, 1, 6, tzinfo=UTC)),
        ("1 Jan 26 10:00 EST", datetime(2026, 1, 1, 15, tzinfo=UTC)),
        ("2026-01-01T10:00:00+04:00", datetime(2026, 1, 1, 6, tzinfo=UTC)),
        ("Thu Jan  1 10:00:00 2026", datetime(2026, 1, 1, 10, tzinfo=UTC)),
        ("Mon, 1 Jan 1904 00:00:00 +0000", None),
        ("soon", None),
    ],
)
def test_dates_in_every_form(text: str, expected: datetime | None) -> None:
    assert read_date(text) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("=?utf-8?Q?a b?=", "a b"),
        ("x=?utf-8?B?w6k?=y", "xéy"),
        ("=?utf-8?B?5pel?= =?utf-8?B?5pys?=", "日本"),
        ("=?x-unknown?Q?caf=E9?=", "café"),
        ("=?utf-8?Q?open", "=?utf-8?Q?open"),
        ("=?gb2312?B?0LvQu6On?=", "谢谢｢".replace("｢", "") + decode(b"\xa3\xa7", "gb18030")),
    ],
)
def test_words_in_odd_forms(value: str, expected: str) -> None:
    assert plain_words(value) == expected


def test_a_label_that_lies_loses_no_byte() -> None:
    assert decode("é".encode("cp1252"), "utf-8") == "é"
    assert decode("naïve".encode(), "us-ascii") == "naïve"
    assert decode("日本語です".encode(), "iso-2022-jp") == "日本語です"


def test_subjects_lose_their_prefixes_only() -> None:
    assert fold_subject("Re: [list] FWD: Regarding  Rates") == ("regarding rates", True)
    assert fold_subject("Regarding rates") == ("regarding rates", False)


@pytest.mark.parametrize("size", [1, 7, 64, 5000])
def test_any_chunks_give_the_same_messages(size: int, tmp_path: Path) -> None:
    write_archive(tmp_path / "b.mbox", count=40, seed=3)
    raw = (tmp_path / "b.mbox").read_bytes()[:20_000]
    whole = list(split_mbox([raw], head=raw[:4096]))

    pieces = list(split_mbox([raw[at : at + size] for at in range(0, len(raw), size)], head=raw[:4096]))

    assert pieces == whole
    assert [segment.end for segment in whole[:-1]] == [segment.start for segment in whole[1:]]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\n",
        b":\n:\n",
        b"A" * 5000,
        b"Content-Type: multipart/mixed; boundary=a\n\n" + b"--a\n" * 3000,
        b'Content-Type: multipart/mixed; boundary="\n\n--\n',
        b"Content-Type: multipart/x; boundary=a\n\n--a\nContent-Type: multipart/x; boundary=a\n\n--a\n",
        b"Content-Type: message/rfc822\n\n" * 200,
        b'Content-Type: text/plain; charset="\xff\xfe"\nContent-Transfer-Encoding: base64\n\n=A=A=A\x00',
        b"From: =?utf-8?B?" + b"A" * 3000,
        b"Content-Type: text/plain; charset*0*=x''%zz; name*=\"\n\nx",
    ],
)
def test_no_bytes_crash_the_reader(raw: bytes) -> None:
    assert build_payload(raw)["mimeType"]


_MEASURE = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {repo!r})
from ao_pipeline.adapters.files_source.intake import Limits
from ao_pipeline_tests.files.folder_engine import Folder
folder = Folder(Path({root!r}), "raw/gmail_messages", Limits(rows=500))
rows = 0
while folder.cursor is None or any(entry["next"] is not None for entry in folder.cursor["files"]):
    rows += folder.collect().rows.num_rows
    folder.rows.clear()
    folder.quarantined.clear()
print(rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def _measure(root: Path) -> tuple[int, int]:
    repo = str(Path(__file__).resolve().parents[2])
    code = _MEASURE.format(repo=repo, root=str(root))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    rows, peak_kib = done.stdout.split()
    return int(rows), int(peak_kib)


def test_peak_memory_does_not_follow_the_file(tmp_path: Path) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    small.mkdir()
    large.mkdir()
    write_archive(small / "b.mbox", count=500, seed=5)
    write_archive(large / "b.mbox", count=2_000, seed=5)

    rows_small, peak_small = _measure(small)
    rows_large, peak_large = _measure(large)

    assert rows_large > 3.5 * rows_small
    # Four times the file in the same limits: only the index of places grows, some eighty bytes a mail.
    assert peak_large - peak_small < 12 * 1024, f"{peak_small} KiB grew to {peak_large} KiB"
