"""Reference tables: what people decide and keep in typed files (clients, brands, identities, team, lanes)."""

from __future__ import annotations

from typing import Final

from ao_pipeline.bundles.schema import TableSpec, boolean, floating, integer, json, text

REF_CLIENTS: Final = TableSpec(
    asset="ref/clients",
    row="one client of the agency",
    key=(text("client_id"),),
    columns=(
        text("name"),
        text("tier", "A | B | C; A matters most"),
        boolean("is_active"),
        text("xero_contact_name", "name of the Xero contact; NULL when it equals `name`"),
        json("aliases_json", "list of other names, in file order"),
    ),
)

REF_BRANDS: Final = TableSpec(
    asset="ref/brands",
    row="one brand of a client",
    key=(text("brand_id"),),
    columns=(
        text("client_id"),
        text("name"),
        json("project_prefixes_json", "list of beginnings of project names that belong to the brand, in file order"),
    ),
)

REF_CLIENT_IDENTITIES: Final = TableSpec(
    asset="ref/client_identities",
    row="one mail address or mail domain that belongs to a client",
    key=(text("kind", "email | domain"), text("value", "lower case")),
    columns=(text("client_id"),),
)

REF_TEAM: Final = TableSpec(
    asset="ref/team",
    row="one member of the agency's team",
    key=(text("member_id"),),
    columns=(
        text("name"),
        text("email", "lower case"),
        text("asana_gid", "NULL without an Asana account"),
        text("chat_user", "users/…; NULL without one"),
        text("default_lane"),
        floating("weekly_hours", "contracted hours a week"),
        boolean("is_active"),
    ),
)

REF_LANES: Final = TableSpec(
    asset="ref/lanes",
    row="one lane: a category of work with a capacity budget",
    key=(text("lane_id"),),
    columns=(
        text("name"),
        floating("weekly_hours", "hours a week before the buffer"),
        floating("buffer_ratio", "0 to below 1: part of the hours that is never planned"),
        json("keywords_json", "list of words in a task's name or tags that put it here"),
        json("project_keywords_json", "list of words in a project's name that put its tasks here"),
        integer("priority", "lanes are tried in ascending order"),
    ),
)

REFERENCE_TABLES: Final[dict[str, TableSpec]] = {
    "clients": REF_CLIENTS,
    "brands": REF_BRANDS,
    "client_identities": REF_CLIENT_IDENTITIES,
    "team": REF_TEAM,
    "lanes": REF_LANES,
}
"""By the stem of the file that each table is read from."""
