"""The reference files: what they give, and which mistakes they refuse by name."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ao_pipeline.collect.reference import parse_reference
from ao_pipeline.collect.reference_tables import REFERENCE_TABLES
from ao_pipeline.errors import ConfigError

CLIENT: dict[str, Any] = {
    "client_id": "c1",
    "name": "Palm Tea",
    "tier": "A",
    "is_active": True,
    "xero_contact_name": None,
    "aliases": ["Palm", "شاي النخيل"],
}
ENTRIES: dict[str, dict[str, Any]] = {
    "clients": CLIENT,
    "brands": {"brand_id": "b1", "client_id": "c1", "name": "Palm", "project_prefixes": ["PLM"]},
    "client_identities": {"client_id": "c1", "kind": "email", "value": "Buyer@Palm.example"},
    "team": {
        "member_id": "m1",
        "name": "Noor",
        "email": "Noor@Agency.example",
        "asana_gid": "12",
        "chat_user": None,
        "default_lane": "ops",
        "weekly_hours": 40,
        "is_active": True,
    },
    "lanes": {
        "lane_id": "ops",
        "name": "Operations",
        "weekly_hours": 40,
        "buffer_ratio": 0.2,
        "keywords": [],
        "project_keywords": [],
        "priority": 9,
    },
}


@pytest.mark.parametrize("kind", ENTRIES)
def test_an_entry_becomes_one_row_of_its_table(kind: str) -> None:
    table = parse_reference(kind, yaml.safe_dump([ENTRIES[kind]], allow_unicode=True), path=f"{kind}.yaml")

    assert table.schema == REFERENCE_TABLES[kind].arrow_schema
    assert table.num_rows == 1


def test_lists_become_canonical_json_and_addresses_lower_case() -> None:
    client = parse_reference("clients", yaml.safe_dump([CLIENT]), path="clients.yaml").to_pylist()[0]
    identity = parse_reference(
        "client_identities", yaml.safe_dump([ENTRIES["client_identities"]]), path="client_identities.yaml"
    ).to_pylist()[0]

    assert client["aliases_json"] == '["Palm","شاي النخيل"]'
    assert identity["value"] == "buyer@palm.example"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tier": "gold"}, "clients.yaml: entry 1: field 'tier' .* write A, B or C"),
        ({"is_active": "yes please"}, "field 'is_active' .* write true or false"),
        ({"client_id": 12}, "field 'client_id' .* write a quoted text"),
        ({"name": None}, "field 'name'"),
        ({"name": "  "}, "field 'name'"),
        ({"aliases": "Palm"}, "field 'aliases'"),
        ({"aliases": [1]}, "field 'aliases'"),
        ({"surprise": 1}, "unknown field 'surprise'"),
    ],
)
def test_a_wrong_field_is_refused_with_file_entry_and_fix(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_reference("clients", yaml.safe_dump([CLIENT | change]), path="clients.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be a list"),
        ("clients: []", "must be a list"),
        ("- [", "line 1: not readable as YAML"),
        ("- 12", "entry 1: must be a mapping"),
        ("- {client_id: c1, client_id: c2}", "written twice"),
        ("- {client_id: c1}", "field 'name' is missing"),
        ("- !!python/object/apply:os.getcwd []", "not readable as YAML"),
    ],
)
def test_an_unreadable_file_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_reference("clients", text, path="clients.yaml")


def test_a_key_that_stands_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="entry 2: client_id .* is taken"):
        parse_reference("clients", yaml.safe_dump([CLIENT, CLIENT]), path="clients.yaml")


@pytest.mark.parametrize(
    ("kind", "value"), [("email", "palm.example"), ("domain", "a@palm.example"), ("domain", "a b")]
)
def test_an_identity_must_be_what_its_kind_says(kind: str, value: str) -> None:
    entry = {"client_id": "c1", "kind": kind, "value": value}

    with pytest.raises(ConfigError, match=f"must be a mail {kind}"):
        parse_reference("client_identities", yaml.safe_dump([entry]), path="client_identities.yaml")


@pytest.mark.parametrize("hours", [-1, 2001, float("nan"), float("inf"), True, "40"])
def test_hours_outside_a_year_are_refused(hours: object) -> None:
    with pytest.raises(ConfigError, match="weekly_hours"):
        parse_reference("lanes", yaml.safe_dump([ENTRIES["lanes"] | {"weekly_hours": hours}]), path="lanes.yaml")


def test_a_kind_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match="not a reference file"):
        parse_reference("suppliers", "[]", path="suppliers.yaml")


@given(st.text(max_size=200))
def test_any_text_gives_a_table_or_a_config_error(text: str) -> None:
    try:
        table = parse_reference("lanes", text, path="lanes.yaml")
    except ConfigError:
        return
    assert table.num_rows == 0


@given(st.permutations(["c1", "c2", "c3", "c4"]))
def test_the_order_of_the_file_does_not_matter(order: list[str]) -> None:
    shuffled = parse_reference("clients", yaml.safe_dump([CLIENT | {"client_id": i} for i in order]), path="p")

    assert shuffled["client_id"].to_pylist() == ["c1", "c2", "c3", "c4"]
