"""Reads the typed reference files. Strict: a file with one mistake changes nothing, and the message names the fix."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import yaml

from ao_pipeline.bundles.canonical import canonical_json
from ao_pipeline.collect.reference_tables import REFERENCE_TABLES
from ao_pipeline.errors import ConfigError

REFERENCE_VERSION: Final = "1"
"""Code version of the reference assets: raise it when the same file would give other rows."""

MAX_REFERENCE_CHARACTERS: Final = 2_000_000
"""Largest reference file. A larger one is a mistake (an export dropped in the folder), not a list that people keep."""

MAX_REFERENCE_ENTRIES: Final = 20_000

_TEXT_LIMIT: Final = 500


@dataclass(frozen=True)
class _Field:
    """One field of an entry: how to read it, and the words that tell a person what to write."""

    expected: str
    read: Callable[[Any], Any]
    is_nullable: bool = False
    column: str = ""


class _UniqueKeyLoader(yaml.SafeLoader):
    """A safe loader that refuses a mapping with the same key twice; plain YAML keeps the last one in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            if key_node.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the field {key_node.value!r} is written twice", key_node.start_mark
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > _TEXT_LIMIT or "\x00" in value:
        raise ValueError
    return value.strip()


def _lower(value: Any) -> str:
    return _text(value).lower()


def _email(value: Any) -> str:
    address = _lower(value)
    name, separator, domain = address.partition("@")
    if not (name and separator and domain) or "@" in domain or any(c.isspace() for c in address):
        raise ValueError
    return address


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError
    return value


def _number(low: float, high: float) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError
        if not low <= value <= high:
            raise ValueError
        return float(value)

    return read


def _choice(*choices: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in choices:
            raise ValueError
        return str(value)

    return read


def _texts(value: Any) -> str:
    if not isinstance(value, list):
        raise TypeError
    return canonical_json([_text(item) for item in value])


_ID: Final = _Field("a quoted text", _text)
_NULLABLE_TEXT: Final = _Field("a quoted text or null", _text, is_nullable=True)
_BOOLEAN: Final = _Field("true or false", _boolean)
_HOURS: Final = _Field("a number of hours from 0 to 2000", _number(0, 2000))

_FIELDS: Final[dict[str, dict[str, _Field]]] = {
    "clients": {
        "client_id": _ID,
        "name": _ID,
        "tier": _Field("A, B or C", _choice("A", "B", "C")),
        "is_active": _BOOLEAN,
        "xero_contact_name": _NULLABLE_TEXT,
        "aliases": _Field("a list of texts, [] for none", _texts, column="aliases_json"),
    },
    "brands": {
        "brand_id": _ID,
        "client_id": _ID,
        "name": _ID,
        "project_prefixes": _Field("a list of texts, [] for none", _texts, column="project_prefixes_json"),
    },
    "client_identities": {
        "kind": _Field("email or domain", _choice("email", "domain")),
        "value": _Field("a mail address or a mail domain", _lower),
        "client_id": _ID,
    },
    "team": {
        "member_id": _ID,
        "name": _ID,
        "email": _Field("a mail address", _email),
        "asana_gid": _NULLABLE_TEXT,
        "chat_user": _NULLABLE_TEXT,
        "default_lane": _ID,
        "weekly_hours": _HOURS,
        "is_active": _BOOLEAN,
    },
    "lanes": {
        "lane_id": _ID,
        "name": _ID,
        "weekly_hours": _HOURS,
        "buffer_ratio": _Field("a number from 0 to 0.95", _number(0, 0.95)),
        "keywords": _Field("a list of texts, [] for none", _texts, column="keywords_json"),
        "project_keywords": _Field("a list of texts, [] for none", _texts, column="project_keywords_json"),
        "priority": _Field("a whole number", _integer),
    },
}


def parse_reference(kind: str, text: str, *, path: str) -> pa.Table:
    """Turn one reference file into the rows of its table.

    Args:
        kind: `clients`, `brands`, `client_identities`, `team` or `lanes`.
        text: The file: a YAML list with one mapping an entry, every field present.
        path: How messages call the file.

    Returns:
        A table in the shape of `REFERENCE_TABLES[kind]`, sorted by its key.

    Raises:
        ConfigError: The file cannot be read, or an entry lacks a field, has an unknown one, a value of a wrong type or
            a key that another entry has. The message names file, entry, field and what to write.
    """
    if kind not in _FIELDS:
        raise ConfigError(f"{path}: {kind!r} is not a reference file; the kinds are {', '.join(_FIELDS)}", path=path)
    spec = REFERENCE_TABLES[kind]
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for number, entry in enumerate(_entries(text, path=path), start=1):
        row = _read_entry(entry, _FIELDS[kind], where=f"{path}: entry {number}")
        if kind == "client_identities":
            _check_identity(row, where=f"{path}: entry {number}")
        key = tuple(row[name] for name in spec.key_names)
        if key in rows:
            name = " + ".join(spec.key_names)
            raise ConfigError(
                f"{path}: entry {number}: {name} {key!r} is taken by an earlier entry; remove one of the two",
                path=path,
                entry=number,
            )
        rows[key] = row
    return pa.Table.from_pylist([rows[key] for key in sorted(rows)], schema=spec.arrow_schema)


def _entries(text: str, *, path: str) -> list[Any]:
    if len(text) > MAX_REFERENCE_CHARACTERS:
        raise ConfigError(f"{path}: {len(text)} characters, the limit is {MAX_REFERENCE_CHARACTERS}", path=path)
    try:
        # The loader is a SafeLoader: it builds plain values only.
        document = yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark is not None else ""
        problem = getattr(error, "problem", None) or type(error).__name__
        raise ConfigError(f"{path}:{line} not readable as YAML: {problem}", path=path) from error
    if not isinstance(document, list):
        raise ConfigError(f"{path}: must be a list of entries, each starting with `- `; write [] for none", path=path)
    if len(document) > MAX_REFERENCE_ENTRIES:
        raise ConfigError(f"{path}: {len(document)} entries, the limit is {MAX_REFERENCE_ENTRIES}", path=path)
    return document


def _read_entry(entry: Any, fields: Mapping[str, _Field], *, where: str) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise ConfigError(f"{where}: must be a mapping with the fields {', '.join(fields)}", where=where)
    unknown = sorted(str(name) for name in entry if name not in fields)
    if unknown:
        raise ConfigError(f"{where}: unknown field {unknown[0]!r}; the fields are {', '.join(fields)}", where=where)
    missing = [name for name in fields if name not in entry]
    if missing:
        raise ConfigError(f"{where}: field {missing[0]!r} is missing; write {fields[missing[0]].expected}", where=where)
    row: dict[str, Any] = {}
    for name, field in fields.items():
        value = entry[name]
        if value is None and field.is_nullable:
            row[field.column or name] = None
            continue
        try:
            row[field.column or name] = field.read(value)
        except (TypeError, ValueError) as error:
            kind = type(value).__name__
            raise ConfigError(
                f"{where}: field {name!r} holds a {kind} that does not fit; write {field.expected}",
                where=where,
                field=name,
            ) from error
    return row


def _check_identity(row: Mapping[str, Any], *, where: str) -> None:
    try:
        _email(row["value"] if row["kind"] == "email" else f"x@{row['value']}")
    except ValueError as error:
        raise ConfigError(f"{where}: field 'value' must be a mail {row['kind']}", where=where, field="value") from error
