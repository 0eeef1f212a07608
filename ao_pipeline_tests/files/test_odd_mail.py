"""Mail as programs of thirty years left it: line ends, separators, charsets and ids that no standard foresees."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ao_pipeline.adapters.files_source import reading
from ao_pipeline.collect.files.charsets import decode, known_codec
from ao_pipeline.collect.files.mail import raw_digest
from ao_pipeline.collect.files.mail_dates import read_date
from ao_pipeline.collect.files.mail_parts import build_payload, read_fields
from ao_pipeline_tests.files.folder_engine import Folder

DATED = b"From ann@b.example Mon Nov 23 10:00:00 2026\n"
THUNDERBIRD_OLD = b"From - Mon Nov 23 10:00:00 2026\r\n"
THUNDERBIRD_NEW = b"From \r\n"


def mail(number: int, *, more: bytes = b"", body: bytes = b"hello\n") -> bytes:
    head = b"Message-ID: <m%d@b.example>\nFrom: ann@b.example\nSubject: s%d\nDate: Mon, 23 Nov 2026 10:00:00 +0000\n"
    return head % (number, number) + more + b"\n" + body


def read(root: Path, **files: bytes) -> Folder:
    """Collect files of these names (a last `_` stands for the dot before the suffix), twice."""
    for name, content in files.items():
        (root / ".".join(name.rsplit("_", 1))).write_bytes(content)
    folder = Folder(root, "raw/gmail_messages")
    folder.collect_all()
    again = folder.collect()
    assert (again.rows.num_rows, again.pages, len(again.quarantined)) == (0, 0, 0)
    return folder


def subjects(folder: Folder) -> list[Any]:
    return sorted(str(row["subject"]) for row in folder.rows.values())


def test_bare_separators_behind_dated_ones_split_the_file(tmp_path: Path) -> None:
    parts = [THUNDERBIRD_OLD + mail(1), THUNDERBIRD_NEW + mail(2), THUNDERBIRD_NEW + mail(3), THUNDERBIRD_OLD + mail(4)]

    folder = read(tmp_path, a_mbox=b"\r\n".join(parts))

    assert subjects(folder) == ["s1", "s2", "s3", "s4"]


def test_lines_of_an_old_mac_are_lines(tmp_path: Path) -> None:
    archive = b"\n".join(DATED + mail(number) for number in (1, 2)).replace(b"\n", b"\r")

    folder = read(tmp_path, Inbox=archive, single_eml=mail(3).replace(b"\n", b"\r"))

    assert subjects(folder) == ["s1", "s2", "s3"]


def test_an_empty_line_before_the_headers_hides_no_mail(tmp_path: Path) -> None:
    folder = read(tmp_path, a_mbox=DATED + mail(1) + b"\n" + DATED + b"\n" + mail(2), b_eml=b"\xef\xbb\xbf\n" + mail(3))

    assert subjects(folder) == ["s1", "s2", "s3"]


def test_mails_without_a_byte_are_counted(tmp_path: Path) -> None:
    archive = DATED + mail(1) + b"\n" + DATED + b"\n" + DATED + mail(2) + b"\n" + DATED

    folder = read(tmp_path, a_mbox=archive, b_eml=b"", c_eml=b"\r\n")

    assert subjects(folder) == ["s1", "s2"]
    assert folder.drift == {"files.mail_empty": 4}
    assert "From" not in str([row["body_text"] for row in folder.rows.values()])


@pytest.mark.parametrize(
    "labels", [b"a\rb,c", b"=?utf-8?q?a=0Db?=", b'"' + b"a" * 200_000], ids=["return", "hidden return", "too long"]
)
def test_labels_that_are_no_csv_do_not_end_the_collection(tmp_path: Path, labels: bytes) -> None:
    folder = read(tmp_path, a_eml=mail(1, more=b"X-Gmail-Labels: " + labels + b"\n"))

    assert subjects(folder) == ["s1"]


def test_a_thousand_brackets_in_an_address_do_not_end_the_collection(tmp_path: Path) -> None:
    folder = read(tmp_path, a_eml=mail(1, more=b"Cc: " + b"(" * 5_000 + b" bo@b.example\n"))

    assert subjects(folder) == ["s1"]


def test_deleted_mails_of_thunderbird_are_trash(tmp_path: Path) -> None:
    archive = THUNDERBIRD_OLD + mail(1, more=b"X-Mozilla-Status: 0009\n") + b"\n"
    archive += THUNDERBIRD_OLD + mail(2, more=b"X-Mozilla-Status: 0000\n")

    folder = read(tmp_path, Clients=archive)

    assert {row["subject"]: row["labels_json"] for row in folder.rows.values()} == {
        "s1": '["TRASH"]',
        "s2": '["UNREAD"]',
    }


def test_apples_mails_and_their_hidden_twins(tmp_path: Path) -> None:
    def counted(raw: bytes) -> bytes:
        return b"%d\n" % len(raw) + raw + b"<?xml ?>"

    (tmp_path / "._a.eml").write_bytes(b"\0\5\x16\7Mac OS X")
    (tmp_path / "gone.eml").symlink_to(tmp_path / "nowhere")

    folder = read(tmp_path, a_emlx=counted(mail(1)), b_EMLX=counted(mail(2)), c_emlx=b"9" * 5_000 + b"\n" + mail(3))

    assert subjects(folder) == ["s1", "s2", "s3"]
    assert folder.quarantined == {}
    assert all(row["body_text"] == "hello\n" for row in folder.rows.values())


def test_one_id_for_all_mails_reads_each_mail_a_few_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count, reads = 200, 0
    real = reading.read_range

    def counting(path: Path, start: int, length: int) -> bytes:
        nonlocal reads
        reads += 1
        return real(path, start, length)

    monkeypatch.setattr("ao_pipeline.adapters.files_source.mail.read_range", counting)
    different = [DATED + mail(1, body=b"n %d\n" % number) for number in range(count)]

    folder = read(tmp_path, a_mbox=b"\n".join([*different, different[7]]))

    assert len(folder.rows) == count
    assert folder.drift == {"files.mail_ids_reused": count - 1, "files.mail_copies": 1}
    assert reads < 8 * count


def test_line_ends_do_not_make_another_mail_of_one_without_an_id() -> None:
    raw = b"Subject: s\n\nhello\n"

    assert raw_digest(raw) == raw_digest(raw.replace(b"\n", b"\r\n") + b"\r\n")


def test_folded_lines_are_joined_in_one_go() -> None:
    fields, _ = read_fields(b"References: <a@b>\n" + b" c\n" * 80_000 + b"Subject: s\n\n")

    assert [name for name, _ in fields] == ["references", "subject"]
    assert len(fields[0][1]) == len("<a@b>") + 2 * 80_000


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"\x1b$B-!F|K\\8l\x1b(B \x1b$B-j\x1b(B", "①日本語 ㈱"),
        (b"\x1b(I1234\x1b(B ok", "ｱｲｳｴ ok"),
        (b"\x1b$BF|K\\8", "日本\ufffd"),
        (b"\x1b$BF|\nplain", "日\nplain"),
        (b"plain only", "plain only"),
    ],
)
def test_japanese_as_windows_writes_it(raw: bytes, text: str) -> None:
    assert decode(raw, "iso-2022-jp") == text
    assert (
        build_payload(b"Subject: =?ISO-2022-JP?B?" + base64.b64encode(raw) + b"?=\n\n")["headers"][0]["value"] == text
    )


@pytest.mark.parametrize("label", ["x-cp1251", "win-1251", "cp-1251", "ansi-1251", "Windows1251", "windows-1251;"])
def test_code_pages_under_any_name(label: str) -> None:
    assert decode("Привет".encode("cp1251"), label) == "Привет"


def test_an_escape_language_is_no_charset() -> None:
    assert known_codec("unicode_escape") is None


@pytest.mark.parametrize(
    ("text", "hour"),
    [
        ("Mon, 23 Nov 2026 10:00:00 CET", 9),
        ("Mon, 23 Nov 2026 10:00:00 CEST", 8),
        ("Mon, 23 Nov 2026 10:00:00 GMT+0200", 8),
        ("Mon, 23 Nov 2026 10:00:00 +02:00", 8),
        ('Mon, 23 Nov 2026 10:00:00 "GMT"', 10),
        ("Mon, 23 Nov 2026 10:00:00 +0200 (CEST)", 8),
        ("Mon, 23 Nov 2026 10:00:00 EST", 15),
        ("Mon, 23 Nov 2026 10:00:00 XYZ", 10),
    ],
)
def test_zones_of_dates(text: str, hour: int) -> None:
    assert read_date(text) == datetime(2026, 11, 23, hour, tzinfo=UTC)


def test_a_leap_second_is_the_second_before() -> None:
    assert read_date("Sat, 31 Dec 2016 23:59:60 +0000") == datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC)
