"""`norm/*`: one vocabulary for all sources. Links that we derive stand in tables of their own."""

from __future__ import annotations

from ao_pipeline.bundles.canonical import RowSource
from ao_pipeline.collect.reference_tables import REF_BRANDS, REF_CLIENT_IDENTITIES, REF_CLIENTS, REF_LANES, REF_TEAM
from ao_pipeline.collect.tables import (
    RAW_ASANA_PROJECTS,
    RAW_ASANA_TASKS,
    RAW_ASANA_USERS,
    RAW_CALENDAR_EVENTS,
    RAW_GMAIL_MESSAGES,
    RAW_XERO_INVOICES,
)
from ao_pipeline.defs.managed import Work, managed_asset
from ao_pipeline.normalize import gates, invoices, meetings, message_links, messages, projects, tasks
from ao_pipeline.normalize.tables import (
    NORM_GATES,
    NORM_INVOICE_LINKS,
    NORM_INVOICES,
    NORM_MEETINGS,
    NORM_MESSAGE_LINKS,
    NORM_MESSAGES,
    NORM_PROJECT_LINKS,
    NORM_PROJECTS,
    NORM_TASK_LINKS,
    NORM_TASKS,
)

_KINDS = {"pandas"}


def _org_domains(work: Work) -> list[str]:
    return work.settings.org_domain_list


@managed_asset(NORM_PROJECTS, reads=[RAW_ASANA_PROJECTS], code_version=projects.PROJECTS_VERSION, kinds=_KINDS)
def norm_projects(work: Work) -> RowSource:
    """Projects with a folded name, whether they are internal, and their state."""
    return projects.normalize_projects(work.table(RAW_ASANA_PROJECTS), zone=work.settings.zone)


@managed_asset(
    NORM_PROJECT_LINKS,
    reads=[NORM_PROJECTS, REF_BRANDS, REF_CLIENTS],
    code_version=projects.PROJECT_LINKS_VERSION,
    kinds=_KINDS,
)
def norm_project_links(work: Work) -> RowSource:
    """Which brand and client each project belongs to, and by which rule."""
    return projects.link_projects(work.table(NORM_PROJECTS), work.table(REF_BRANDS), work.table(REF_CLIENTS))


@managed_asset(
    NORM_TASKS,
    reads=[RAW_ASANA_TASKS, NORM_PROJECTS, RAW_ASANA_USERS, REF_TEAM, REF_LANES],
    code_version=tasks.TASKS_VERSION,
    kinds=_KINDS,
)
def norm_tasks(work: Work) -> RowSource:
    """Tasks with one status, an owner from the team, a lane and an estimate."""
    return tasks.normalize_tasks(
        work.table(RAW_ASANA_TASKS),
        projects=work.table(NORM_PROJECTS),
        users=work.table(RAW_ASANA_USERS),
        team=work.table(REF_TEAM),
        lanes=work.table(REF_LANES),
        zone=work.settings.zone,
    )


@managed_asset(
    NORM_TASK_LINKS,
    reads=[NORM_TASKS, NORM_PROJECTS, NORM_PROJECT_LINKS, REF_BRANDS, REF_CLIENTS],
    code_version=tasks.TASK_LINKS_VERSION,
    kinds=_KINDS,
)
def norm_task_links(work: Work) -> RowSource:
    """How far each task's chain to project, brand and client holds."""
    return tasks.link_tasks(
        work.table(NORM_TASKS),
        projects=work.table(NORM_PROJECTS),
        project_links=work.table(NORM_PROJECT_LINKS),
        brands=work.table(REF_BRANDS),
        clients=work.table(REF_CLIENTS),
    )


@managed_asset(
    NORM_MESSAGES,
    reads=[RAW_GMAIL_MESSAGES],
    code_version=messages.MESSAGES_VERSION,
    kinds=_KINDS,
    facts=lambda work: {"org_domains": _org_domains(work)},
)
def norm_messages(work: Work) -> RowSource:
    """Mail with its direction, counterpart and readable text."""
    return messages.normalize_messages(
        work.table(RAW_GMAIL_MESSAGES), org_domains=_org_domains(work), zone=work.settings.zone
    )


@managed_asset(
    NORM_MESSAGE_LINKS,
    reads=[NORM_MESSAGES, REF_CLIENT_IDENTITIES, REF_CLIENTS, REF_BRANDS],
    code_version=message_links.MESSAGE_LINKS_VERSION,
    kinds=_KINDS,
)
def norm_message_links(work: Work) -> RowSource:
    """Which client each mail is about; ambiguous stays ambiguous."""
    return message_links.link_messages(
        work.table(NORM_MESSAGES),
        identities=work.table(REF_CLIENT_IDENTITIES),
        clients=work.table(REF_CLIENTS),
        brands=work.table(REF_BRANDS),
    )


@managed_asset(
    NORM_MEETINGS,
    reads=[RAW_CALENDAR_EVENTS],
    code_version=meetings.MEETINGS_VERSION,
    kinds=_KINDS,
    depends_on_day=True,
    facts=lambda work: {"org_domains": _org_domains(work)},
)
def norm_meetings(work: Work) -> RowSource:
    """Meetings a day, recurring ones expanded around today."""
    return meetings.normalize_meetings(
        work.table(RAW_CALENDAR_EVENTS), as_of=work.as_of, org_domains=_org_domains(work), zone=work.settings.zone
    )


@managed_asset(
    NORM_INVOICES,
    reads=[RAW_XERO_INVOICES],
    code_version=invoices.INVOICES_VERSION,
    kinds=_KINDS,
    depends_on_day=True,
)
def norm_invoices(work: Work) -> RowSource:
    """What others owe us, each open invoice in its aging bucket of today."""
    return invoices.normalize_invoices(work.table(RAW_XERO_INVOICES), as_of=work.as_of)


@managed_asset(
    NORM_INVOICE_LINKS,
    reads=[NORM_INVOICES, REF_CLIENTS],
    code_version=invoices.INVOICE_LINKS_VERSION,
    kinds=_KINDS,
)
def norm_invoice_links(work: Work) -> RowSource:
    """Which client each invoice is for."""
    return invoices.link_invoices(work.table(NORM_INVOICES), work.table(REF_CLIENTS))


_GATE_INPUTS = {
    "projects": NORM_PROJECTS,
    "project_links": NORM_PROJECT_LINKS,
    "tasks": NORM_TASKS,
    "task_links": NORM_TASK_LINKS,
    "messages": NORM_MESSAGES,
    "invoices": NORM_INVOICES,
    "invoice_links": NORM_INVOICE_LINKS,
    "brands": REF_BRANDS,
    "clients": REF_CLIENTS,
    "lanes": REF_LANES,
}


@managed_asset(
    NORM_GATES,
    reads=list(_GATE_INPUTS.values()),
    code_version=gates.GATES_VERSION,
    kinds=_KINDS,
)
def norm_gates(work: Work) -> RowSource:
    """The ten data-quality gates, measured."""
    return gates.evaluate_gates(**{name: work.table(spec) for name, spec in _GATE_INPUTS.items()})


NORM_ASSETS = (
    norm_projects,
    norm_project_links,
    norm_tasks,
    norm_task_links,
    norm_messages,
    norm_message_links,
    norm_meetings,
    norm_invoices,
    norm_invoice_links,
    norm_gates,
)
