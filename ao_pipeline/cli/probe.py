"""`ao probe`: is one part of the engine making progress? For systemd, Kubernetes and people."""

from __future__ import annotations

from typing import Final

import click

from ao_pipeline.cli.output import json_option, print_json

SUBJECTS: Final = {
    "daemon": "daemon",
    "code": "code-server",
    "exporter": "exporter",
    "webserver": "webserver",
    "sandbox": "sandbox",
}
"""Subject by the name of the supervisor's process."""

RUN: Final = "run"


@click.command(short_help="Tell whether one part of the engine makes progress; exit 1 if not.")
@click.argument("subject", type=click.Choice([*SUBJECTS, RUN]))
@click.option("--strict", is_flag=True, help="Exit 1 also when it cannot be told: for readiness, never for a restart.")
@json_option
@click.pass_context
def probe(context: click.Context, subject: str, strict: bool, as_json: bool) -> None:
    """Tell whether one part of the engine makes progress, by the same probe that `ao up` uses; exit 1 if not."""
    from ao_pipeline.settings import current_settings
    from ao_pipeline.supervisor.probes import Verdict, runs_probe
    from ao_pipeline.supervisor.specs import engine_specs, workspace_path

    settings = current_settings()
    if subject == RUN:
        verdict = runs_probe(settings.data_path)()
    else:
        probes = {spec.name: spec.probe for spec in engine_specs(settings, workspace_path(settings))}
        found = probes.get(SUBJECTS[subject])
        verdict = Verdict(is_alive=None, detail="it is not part of this engine") if found is None else found()
    word = {True: "alive", False: "not alive", None: "unknown"}[verdict.is_alive]
    if as_json:
        print_json({"subject": subject, "is_alive": verdict.is_alive, "detail": verdict.detail})
    else:
        click.echo(f"{subject}: {word}: {verdict.detail}")
    context.exit(1 if verdict.is_alive is False or (strict and verdict.is_alive is None) else 0)
