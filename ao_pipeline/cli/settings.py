"""`ao settings`: every setting with its value, its default and what it means."""

from __future__ import annotations

from typing import Any, Final

import click

from ao_pipeline.cli.output import json_option, print_json, print_table
from ao_pipeline.errors import ConfigError

MASK: Final = "********"


@click.command(short_help="List every setting and its value.")
@json_option
def settings(as_json: bool) -> None:
    """List every setting: variable, value, default, meaning. Secrets are masked.

    It also answers when the settings are wrong: then without values, and with what is wrong.
    """
    from pydantic import SecretStr

    from ao_pipeline.settings import Settings, load_settings, variable_of

    problem: ConfigError | None = None
    current: Settings | None = None
    try:
        current = load_settings()
    except ConfigError as error:
        problem = error
    rows: list[dict[str, Any]] = []
    for name, field in Settings.model_fields.items():
        rows.append(
            {
                "variable": variable_of(name),
                "value": None if current is None else _shown(getattr(current, name)),
                "default": _shown(field.default),
                "is_set": None if current is None else name in current.model_fields_set,
                "is_secret": isinstance(field.default, SecretStr),
                "description": field.description or "",
            }
        )
    if as_json:
        print_json({"settings": rows, "problem": None if problem is None else str(problem)})
    else:
        names = ("variable", "value", "default", "description")
        print_table(
            ("variable", "value", "default", "meaning"), [tuple(_blank(row[name]) for name in names) for row in rows]
        )
    if problem is not None:
        raise problem


def _shown(value: Any) -> Any:
    """Return a value fit to be printed: text, number, true or false, or None."""
    if hasattr(value, "get_secret_value"):
        return MASK if value.get_secret_value() else ""
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _blank(value: Any) -> Any:
    return "" if value is None else value
