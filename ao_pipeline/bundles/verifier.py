"""Check exported bundles without the pipeline: `python verifier.py FOLDER`.

Written from `docs/hash-format.md` alone, row by row and slowly, and it imports nothing of the project: so it also checks that
the page says everything. It needs Python, pyarrow and xxhash. One file, longer than others here, because it is copied alone.

A folder is good when every file is what the export wrote, every seal fits and continues the one before, every payload is the one
that its header names, and replaying the payloads gives each recorded state hash and row count.
"""

import hashlib
import json
import math
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import xxhash

EXPORT_FORMAT: Final = "ao-export-1"
PAYLOAD_FORMAT: Final = b"ao-payload-1"
GENESIS_SEAL: Final = "0" * 64
ID_LENGTH: Final = 16
MODULUS: Final = 1 << 128
MAX_STREAM_BYTES: Final = 8 << 30
"""Largest stream that is unpacked: a forged length must not take the machine's memory."""

INSERT, UPDATE, DELETE = 1, 2, 3
FIELDS: Final = frozenset(
    {"asset", "seq", "cycle", "first_cycle", "kind", "intent", "run_id", "attempt", "code_version", "parent_seal"}
    | {"rows_inserted", "rows_updated", "rows_deleted", "row_count_after", "state_hash_before", "state_hash_after"}
    | {"payload_hash", "payload_bytes", "layout", "actor", "reason", "inputs", "cursor_before", "cursor_after"}
    | {"target_id", "stats", "started_at_us", "duration_ms", "seal"}
)
LAYOUT_FIELDS: Final = {"asset", "columns", "first_seq", "head", "since", "table", "table_sha256"}
Header = dict[str, Any]
Problem = tuple[str, str, str]
"""Asset, bundle id (empty when it is not about one bundle), what is wrong."""


@dataclass
class Report:
    """What was looked at and what is wrong with it; good when nothing is."""

    problems: list[Problem] = field(default_factory=list)
    assets: int = 0
    bundles: int = 0
    rows: int = 0


@dataclass
class _State:
    """The rows as replayed so far: hash by key hash; None when they are unknown and only sums can be checked."""

    rows: dict[int, int] | None
    total: int
    count: int


def verify_export(folder: Path) -> Report:
    """Check an exported folder; report every wrong file, bundle and state."""
    report = Report()
    try:
        assets = _manifest(folder)
        foreign = {path.name for path in folder.iterdir()} - {place for place, _ in assets.values()} - {"export.json"}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        report.problems.append(("", "", f"export.json cannot be read: {error}"))
        return report
    report.problems += [("", "", f"{name} is in the folder, but not in export.json") for name in sorted(foreign)]
    for asset, (place, digest) in assets.items():
        report.assets += 1
        report.problems += [(asset, *problem) for problem in _verify_asset(folder / place, asset, digest, report)]
    return report


def _verify_asset(folder: Path, asset: str, digest: str, report: Report) -> Iterator[tuple[str, str]]:
    try:
        layout = _layout(folder, digest)
        lines = (folder / "bundles.jsonl").read_bytes()
    except (OSError, ValueError) as error:
        yield "", f"layout.json or bundles.jsonl cannot be read: {error}"
        return
    if layout["asset"] != asset:
        yield "", f"layout.json is of {layout['asset']}"
    headers, problems = _headers(lines, asset)
    yield from (problem for _, problem in problems)
    bad = {seq for seq, _ in problems}
    report.bundles += len(headers)
    yield from _unexpected_files(folder, layout, headers)
    yield from _chain(layout, headers, bad)
    yield from _replay(folder, layout, headers, bad, report)
    yield from _end(folder, layout, headers)


def _manifest(folder: Path) -> dict[str, tuple[str, str]]:
    manifest = _read_document(folder / "export.json")
    if set(manifest) != {"format", "assets"} or manifest["format"] != EXPORT_FORMAT:
        raise ValueError(f"it is not of format {EXPORT_FORMAT}")
    return {str(asset): (str(place), str(digest)) for asset, (place, digest) in manifest["assets"].items()}


def _layout(folder: Path, digest: str) -> Header:
    if hashlib.sha256((folder / "layout.json").read_bytes()).hexdigest() != digest:
        raise ValueError("layout.json is not the file that was exported")
    layout = _read_document(folder / "layout.json")
    if set(layout) != LAYOUT_FIELDS:
        raise ValueError("layout.json does not have the right fields")
    return layout


def _header(line: bytes) -> Header:
    header = json.loads(line)
    if set(header) != FIELDS or canonical(header) != line or type(header["seq"]) is not int:
        raise ValueError("it is not a header in canonical JSON")
    return dict(header)


def _headers(data: bytes, asset: str) -> tuple[dict[int, Header], list[tuple[int, tuple[str, str]]]]:
    """Return the headers by `seq`, and what is wrong with lines, with the `seq` that it is about."""
    headers: dict[int, Header] = {}
    problems: list[tuple[int, tuple[str, str]]] = []
    last = 0
    for number, line in enumerate(data.split(b"\n")[:-1], start=1):
        try:
            header = _header(line)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            problems.append((0, ("", f"bundles.jsonl line {number}: {error}")))
            continue
        seq = header["seq"]
        name = str(header["seal"])[:ID_LENGTH]
        if seq in headers:
            problems.append((0, (name, f"bundle {seq} occurs twice (line {number})")))
            continue
        if seq < last:
            problems.append(
                (0, (name, f"bundle {seq} stands after bundle {last} (line {number}): the order was changed"))
            )
        if seal_of(header) != header["seal"] or header["asset"] != asset:
            problems.append((seq, (name, f"bundle {seq}: its header was changed, the seal does not fit")))
        headers[seq], last = header, max(last, seq)
    if data and not data.endswith(b"\n"):
        problems.append((0, ("", "bundles.jsonl: its last line is not whole")))
    return dict(sorted(headers.items())), problems


def _chain(layout: Header, headers: dict[int, Header], bad: set[int]) -> Iterator[tuple[str, str]]:
    first, head = layout["first_seq"], layout["head"]["seq"]
    for gap in _ranges([seq for seq in range(first, head + 1) if seq not in headers]):
        yield "", f"bundle {gap} missing"
    if (
        first > 1
        and not layout["since"]
        and all(_pruned_through(header) != first - 1 for seq, header in headers.items() if seq not in bad)
    ):
        yield "", f"the chain starts at bundle {first}, but no retention bundle says that those before it were removed"
    if 1 in headers and headers[1]["parent_seal"] != GENESIS_SEAL:
        yield headers[1]["seal"][:ID_LENGTH], "bundle 1 names a parent"
    for seq, header in headers.items():
        name, before = header["seal"][:ID_LENGTH], headers.get(seq - 1)
        if not first <= seq <= head:
            yield name, f"bundle {seq} does not belong to this export, which holds {first} to {head}"
        # An edited bundle is named itself; the one after it may go by either of its seals.
        if before is not None and header["parent_seal"] not in (before["seal"], seal_of(before)):
            yield name, f"bundle {seq} does not continue bundle {seq - 1}"


def _replay(
    folder: Path, layout: Header, headers: dict[int, Header], bad: set[int], report: Report
) -> Iterator[tuple[str, str]]:
    state: _State | None = _State({}, 0, 0)
    if layout["first_seq"] != 1:
        state = None
    expected = layout["first_seq"]
    for seq, header in headers.items():
        name = header["seal"][:ID_LENGTH]
        if seq in bad or seq != expected:
            state = None  # What came in between is unknown: start again from what this bundle recorded.
        expected = seq + 1
        if seq in bad:
            continue
        counts = header["rows_inserted"], header["rows_updated"], header["rows_deleted"]
        if state is None:
            state = _State(
                None, int(header["state_hash_before"], 16), header["row_count_after"] - counts[0] + counts[2]
            )
        if f"{state.total:032x}" != header["state_hash_before"]:
            yield name, f"bundle {seq} starts from a state that the one before did not leave"
        if header["kind"] == "migrate":  # The columns changed: what the rows became is not in a payload.
            state = _State(None, int(header["state_hash_after"], 16), header["row_count_after"])
            continue
        try:
            seen = _apply(state, _payload(folder, header, layout["columns"]))
        except (OSError, ValueError, KeyError, pa.ArrowException) as error:
            yield name, f"bundle {seq}: its payload is missing or was changed: {error}"
            state = None
            continue
        report.rows += sum(seen)
        if seen != counts:
            yield name, f"bundle {seq} says that it changed {counts} rows, its payload changes {seen}"
        if (f"{state.total:032x}", state.count) != (header["state_hash_after"], header["row_count_after"]):
            recorded = f"{header['state_hash_after']} with {header['row_count_after']} rows"
            yield name, f"bundle {seq} leaves {state.total:032x} with {state.count} rows, it recorded {recorded}"
            state = None


def _apply(state: _State, changes: Iterator[tuple[int, int, int | None, int | None]]) -> tuple[int, int, int]:
    """Carry changes out; return how many rows were inserted, updated and deleted."""
    counts = {INSERT: 0, UPDATE: 0, DELETE: 0}
    for operation, key, before, after in changes:
        counts[operation] += 1
        if state.rows is not None:
            if state.rows.pop(key, None) != before:
                raise ValueError("a row before the change is not the one that was there")
            if after is not None:
                state.rows[key] = after
        state.total = (state.total - (before or 0) + (after or 0)) % MODULUS
        state.count += (after is not None) - (before is not None)
    return counts[INSERT], counts[UPDATE], counts[DELETE]


def _payload(folder: Path, header: Header, columns: list[Any]) -> Iterator[tuple[int, int, int | None, int | None]]:
    """Yield operation, key hash, and the row's hash before and after, for each changed row of a bundle."""
    file = folder / payload_name(header)
    data = file.read_bytes() if header["payload_bytes"] or file.exists() else b""
    if len(data) != header["payload_bytes"] or hashlib.sha256(data).hexdigest() != header["payload_hash"]:
        raise ValueError("it does not have the hash in the header")
    if not data:
        return
    table = _unpack(data)
    names = table.column_names
    others = [name.removeprefix("before.") for name in names if name.startswith("before.")]
    keys = names[1 : names.index("before." + others[0]) if others else -1]
    _require_layout(header, columns, [*keys, *others])
    values = {name: _plain(table.column(name)) for name in names}
    kinds = {name: table.schema.field(name if name in keys else f"before.{name}").type for name in [*keys, *others]}
    for at in range(table.num_rows):
        operation, changed = values["ao_operation"][at], values["ao_changed"][at]
        key = [(kinds[name], values[name][at]) for name in keys]
        old = [values[f"before.{name}"][at] for name in others]
        new = [values[f"after.{name}"][at] for name in others]
        if operation == UPDATE:
            new = [new[i] if changed >> i & 1 else old[i] for i in range(len(others))]
        before = key + [(kinds[name], value) for name, value in zip(others, old, strict=True)]
        after = key + [(kinds[name], value) for name, value in zip(others, new, strict=True)]
        yield (
            operation,
            hash_of(key),
            None if operation == INSERT else hash_of(before),
            None if operation == DELETE else hash_of(after),
        )


def _require_layout(header: Header, columns: list[Any], names: list[str]) -> None:
    """A bundle written with today's columns, or before the last of them were added, must say so itself."""
    written = columns[: len(names)]
    if [name for name, _, _ in written] == names and fingerprint(written) != header["layout"]:
        raise ValueError("the table's columns are not those that its header names")


def _unpack(data: bytes) -> pa.Table:
    size = int.from_bytes(data[:8], "little")
    if not 0 < size <= MAX_STREAM_BYTES:
        raise ValueError(f"it claims {size} bytes")
    stream = pa.Codec("zstd").decompress(data[8:], decompressed_size=size)
    with ipc.open_stream(stream) as reader:
        table = reader.read_all()
    table.validate(full=True)
    if (table.schema.metadata or {}).get(b"ao") != PAYLOAD_FORMAT:
        raise ValueError(f"it is not of format {PAYLOAD_FORMAT.decode()}")
    return table


def _end(folder: Path, layout: Header, headers: dict[int, Header]) -> Iterator[tuple[str, str]]:
    """Compare the last bundle with the head, and the table with the head when it was exported."""
    head, last = layout["head"], headers.get(layout["head"]["seq"])
    ends = None if last is None else (last["seal"], last["state_hash_after"], last["row_count_after"])
    if ends not in (None, (head["seal"], head["state_hash"], head["row_count"])):
        yield (
            head["seal"][:ID_LENGTH],
            f"bundle {head['seq']} is not the one that was the newest when this was exported",
        )
    if not layout["table_sha256"]:
        return
    file = folder / "table.parquet"
    if not file.exists() or hashlib.sha256(file.read_bytes()).hexdigest() != layout["table_sha256"]:
        yield "", "table.parquet is missing or was changed"
        return
    table = pq.read_table(file)
    cells = [(table.schema.field(name).type, _plain(table.column(name))) for name, _, _ in layout["columns"]]
    total = sum(hash_of([(kind, values[at]) for kind, values in cells]) for at in range(table.num_rows)) % MODULUS
    if (f"{total:032x}", table.num_rows) != (head["state_hash"], head["row_count"]):
        yield (
            "",
            f"table.parquet hashes to {total:032x} with {table.num_rows} rows, its newest bundle recorded otherwise",
        )


def _unexpected_files(folder: Path, layout: Header, headers: dict[int, Header]) -> Iterator[tuple[str, str]]:
    known = {"layout.json", "bundles.jsonl"} | {
        payload_name(header | {"seal": seal})
        for header in headers.values()
        for seal in (header["seal"], seal_of(header))
    }
    known |= {"table.parquet"} if layout["table_sha256"] else set()
    for path in sorted(folder.iterdir()):
        if path.name not in known:
            yield "", f"{path.name} belongs to no bundle"


def _pruned_through(header: Header) -> int:
    return int(json.loads(header["stats"]).get("pruned_through_seq", 0)) if header["kind"] == "retention" else 0


def _ranges(numbers: list[int]) -> Iterator[str]:
    starts = [n for n in numbers if n - 1 not in set(numbers)]
    ends = [n for n in numbers if n + 1 not in set(numbers)]
    for start, end in zip(starts, ends, strict=True):
        yield f"{start} is" if start == end else f"{start} to {end} are"


def payload_name(header: Header) -> str:
    """Return the file name of a bundle's payload."""
    return f"{header['seq']}-{str(header['seal'])[:ID_LENGTH]}.payload"


def hash_of(cells: list[tuple[pa.DataType, Any]]) -> int:
    """Return the hash of a row or key from its cells in hash order, each with its Arrow type."""
    presence, words, texts = 0, b"", b""
    for position, (kind, value) in enumerate(cells):
        if value is None:
            continue
        presence |= 1 << position
        if isinstance(value, str):
            text = value.encode()
            words += struct.pack("<q", len(text))
            texts += text
        elif pa.types.is_floating(kind):
            words += struct.pack("<Q", 0x7FF8000000000000) if math.isnan(value) else struct.pack("<d", value + 0.0)
        else:
            words += struct.pack("<q", int(value))
    return xxhash.xxh3_128_intdigest(struct.pack("<Q", presence) + words + texts)


def seal_of(header: Header) -> str:
    """Return the seal that a header must have."""
    return hashlib.sha256(canonical({name: value for name, value in header.items() if name != "seal"})).hexdigest()


def fingerprint(columns: list[Any]) -> str:
    """Return the layout that headers name for these columns."""
    return hashlib.sha256(canonical(columns)).hexdigest()[:ID_LENGTH]


def canonical(value: Any) -> bytes:
    """Return a value as canonical JSON."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _read_document(path: Path) -> Header:
    data = path.read_bytes()
    document = json.loads(data)
    if not isinstance(document, dict) or canonical(document) + b"\n" != data:
        raise ValueError(f"{path.name} is not canonical JSON")
    return document


def _plain(column: pa.ChunkedArray) -> list[Any]:
    """Return a column as Python values; instants as microseconds, days as days since 1970."""
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    elif pa.types.is_date32(column.type):
        column = column.cast(pa.int32())
    values: list[Any] = column.to_pylist()
    return values


def main(arguments: list[str]) -> int:
    """Print what is wrong with the folder that is named; return 0 when nothing is, else 1."""
    if len(arguments) != 1:
        print("usage: verifier.py FOLDER", file=sys.stderr)
        return 2
    report = verify_export(Path(arguments[0]))
    for asset, bundle, problem in report.problems:
        print(" ".join(part for part in (asset, bundle, problem) if part))
    print(
        f"{report.assets} assets, {report.bundles} bundles, {report.rows} changed rows: {len(report.problems)} problems"
    )
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
