"""Check one page and one record against its schema; unknown fields and enum values are drift, not errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Protocol

import jsonschema_rs

from ao_pipeline.collect.values import BadValueError, clean_json, clean_text
from ao_pipeline.errors import ContractError

Schema = dict[str, Any]

MAX_NAME_CHARS: Final = 64
"""Longest foreign name kept in a drift counter."""

TEXT: Final[Schema] = {"type": ["string", "null"]}
KEY: Final[Schema] = {"type": "string", "minLength": 1}
TOKEN: Final[Schema] = TEXT
"""A page or sync token. Empty text and null say what an absent one says: there is none."""

BOOLEAN: Final[Schema] = {"type": ["boolean", "null"]}
NUMBER: Final[Schema] = {"type": ["number", "string", "null"]}
COUNT: Final[Schema] = {"type": ["integer", "null"], "minimum": 0}
INTEGER: Final[Schema] = {"type": ["integer", "string", "null"]}


def object_of(**properties: Schema) -> Schema:
    """Return the schema of an optional object with these properties, all optional."""
    return {"type": ["object", "null"], "properties": properties}


def list_of(item: Schema) -> Schema:
    """Return the schema of an optional list."""
    return {"type": ["array", "null"], "items": item}


class _Validator(Protocol):
    def is_valid(self, instance: Any) -> bool: ...

    def iter_errors(self, instance: Any) -> Iterator[jsonschema_rs.ValidationError]: ...


@dataclass(frozen=True)
class RecordContract:
    """One kind of upstream object.

    Attributes:
        name: Prefix of drift names and reasons, such as `asana.task`.
        key_field: The vendor's key field; a page with a record that lacks it is refused.
        properties: Schemas of the fields that are read.
        known_fields: Fields that the vendor documents; any other is drift.
        enums: Known values of open enums; any other is drift.
    """

    name: str
    key_field: str
    properties: Mapping[str, Schema]
    known_fields: frozenset[str]
    enums: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @cached_property
    def _validator(self) -> _Validator:
        properties = {**self.properties, self.key_field: KEY}
        return jsonschema_rs.validator_for({"type": "object", "required": [self.key_field], "properties": properties})

    def require(self, record: Any) -> None:
        """Accept a record or name the first field that is wrong.

        Raises:
            BadValueError: The record is to be quarantined.
        """
        if not self._validator.is_valid(record):
            error = next(iter(self._validator.iter_errors(record)))
            where = ".".join(str(part) for part in error.instance_path) or "record"
            raise BadValueError(f"{where}: {error.message[:200]}")

    def drift(self, record: Mapping[str, Any]) -> Iterator[str]:
        """Yield the name of every unknown field and unknown enum value."""
        for name in record.keys() - self.known_fields - self.properties.keys() - {self.key_field}:
            yield f"{self.name}.unknown_field:{_short(name)}"
        for name, known in self.enums.items():
            value = record.get(name)
            if isinstance(value, str) and value not in known:
                yield f"{self.name}.unknown_value:{name}={_short(value)}"


@dataclass(frozen=True)
class PageContract:
    """One listing operation.

    Attributes:
        operation: Name in messages, such as `asana.tasks.list`.
        items_key: Key of the list of records.
        key_field: Key field of every record.
        is_empty_legal: Whether `{}` and an absent list mean "nothing": Google omits empty lists.
        known_keys: Keys of the page; an answer that shares none of them is another API's.
        extra: Schemas of further keys, such as the cursor.
        required: Further keys, of which each must be there when an empty list is left out: `{}` is not such a page.
    """

    operation: str
    items_key: str
    key_field: str
    is_empty_legal: bool
    known_keys: frozenset[str]
    extra: Mapping[str, Schema] = field(default_factory=dict)
    required: tuple[str, ...] = ()

    @cached_property
    def _validator(self) -> _Validator:
        record = {"type": "object", "required": [self.key_field], "properties": {self.key_field: KEY}}
        without_list = [{"required": list(self.required)}] if self.is_empty_legal else []
        return jsonschema_rs.validator_for(
            {
                "type": "object",
                "anyOf": [{"required": [self.items_key]}, *without_list],
                "properties": {**self.extra, self.items_key: {"type": "array", "items": record}},
            }
        )

    def records(self, body: Any) -> list[dict[str, Any]]:
        """Return the records of one page.

        Raises:
            ContractError: A foreign shape, or a record without its key. The page was refused.
        """
        if isinstance(body, dict) and body and not (body.keys() & (self.known_keys | {self.items_key})):
            raise ContractError(
                f"{self.operation}: the answer has a foreign shape: keys {sorted(map(_short, body))[:10]}"
            )
        if isinstance(body, dict) and self.items_key not in body:
            strangers = [
                name for name, value in body.items() if isinstance(value, list) and name not in self.known_keys
            ]
            if strangers:
                # An absent list means nothing; an absent list beside an unknown one means that it was renamed.
                raise ContractError(
                    f"{self.operation}: {self.items_key} is missing beside the unknown list {_short(strangers[0])};"
                    " the page was refused"
                )
        try:
            is_valid = self._validator.is_valid(body)
        except UnicodeEncodeError:  # A lone surrogate inside a field name.
            body = _cleaned(body, self.operation)
            is_valid = self._validator.is_valid(body)
        if not is_valid:
            error = next(iter(self._validator.iter_errors(body)))
            where = ".".join(str(part) for part in error.instance_path) or "the answer"
            keyword = str(error.schema_path[-1]) if error.schema_path else "schema"
            raise ContractError(f"{self.operation}: {where} breaks the contract ({keyword}); the page was refused")
        records: list[dict[str, Any]] = body.get(self.items_key, [])
        return records


def _cleaned(body: Any, operation: str) -> Any:
    try:
        return clean_json(body)
    except BadValueError as error:
        raise ContractError(f"{operation}: {error}; the page was refused") from error


def _short(name: Any) -> str:
    return clean_text(str(name))[:MAX_NAME_CHARS]
