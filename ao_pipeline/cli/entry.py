"""The command group: its sections in the help, and the one place where an error becomes a line and an exit code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import click

from ao_pipeline.cli import (
    breakers,
    doctor,
    engine,
    export,
    holds,
    incidents,
    operate,
    past,
    probe,
    refused,
    rows,
    settings,
    standing,
    undo,
)
from ao_pipeline.cli.session import Session
from ao_pipeline.errors import AoError, ConfigError, UnknownNameError

NEGATIVE: Final = 1
"""The command worked and the answer is no: a finding, a failed cycle, a refused change."""

USAGE: Final = 2
"""The command was asked for something that does not exist, or is set up wrongly. click uses the same number."""

SECTIONS: Final[Mapping[str, tuple[click.Command, ...]]] = {
    "Run": (operate.up, operate.cycle, operate.sandbox, operate.migrate, settings.settings),
    "See where things stand": (
        standing.status,
        incidents.incidents,
        operate.snapshot,
        standing.verify,
        operate.checks,
        refused.quarantine,
        breakers.breakers,
        doctor.doctor,
        engine.engine,
        probe.probe,
    ),
    "Read the past": (past.log, past.show, past.diff, rows.blame, rows.asof, export.export),
    "Take changes back": (undo.revert, holds.hold, holds.accept_volume),
}


class AoGroup(click.Group):
    """A group that prints the project's own errors as one line, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; exit 2 for unknown names and wrong settings, 1 for every other refusal."""
        try:
            return super().invoke(ctx)
        except AoError as error:
            click.echo(f"ao: {error}", err=True)
            ctx.exit(USAGE if isinstance(error, (UnknownNameError, ConfigError)) else NEGATIVE)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands by what they are for."""
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(str(command.name), command.get_short_help_str(80)) for command in commands])


@click.group(
    cls=AoGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="CYCLE is a key such as 2026-11-22-10:15 (UTC), or latest, latest~1, ... counted in computed cycles. "
    "Exit codes: 0 good, 1 a negative outcome, 2 wrong usage or an unknown name.",
)
@click.pass_context
def main(context: click.Context) -> None:
    """Run the pipeline, read its past, take changes back."""
    if context.obj is None:
        context.obj = Session()
    context.call_on_close(context.obj.close)


for _commands in SECTIONS.values():
    for _command in _commands:
        main.add_command(_command)
