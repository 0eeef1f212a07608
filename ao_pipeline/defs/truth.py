"""`truth/*`: what the agency's time, promises, capacity and clients look like today."""

from __future__ import annotations

from ao_pipeline.bundles.canonical import RowSource
from ao_pipeline.collect.reference_tables import REF_CLIENTS, REF_LANES, REF_TEAM
from ao_pipeline.defs.managed import Work, managed_asset
from ao_pipeline.normalize.tables import (
    NORM_GATES,
    NORM_INVOICE_LINKS,
    NORM_INVOICES,
    NORM_MEETINGS,
    NORM_MESSAGE_LINKS,
    NORM_MESSAGES,
    NORM_TASK_LINKS,
    NORM_TASKS,
)
from ao_pipeline.truth import capacity, client_health, commitments, time_blocks
from ao_pipeline.truth.tables import TRUTH_CAPACITY, TRUTH_CLIENT_HEALTH, TRUTH_COMMITMENTS, TRUTH_TIME_BLOCKS

_KINDS = {"pandas"}


@managed_asset(
    TRUTH_TIME_BLOCKS,
    reads=[NORM_GATES, NORM_TASKS, NORM_MEETINGS, REF_TEAM, REF_LANES],
    code_version=time_blocks.TIME_BLOCKS_VERSION,
    kinds=_KINDS,
    depends_on_day=True,
)
def truth_time_blocks(work: Work) -> RowSource:
    """The two weeks ahead in blocks: protected by meetings, assigned to one task, or free."""
    return time_blocks.plan_time_blocks(
        work.table(NORM_TASKS),
        meetings=work.table(NORM_MEETINGS),
        team=work.table(REF_TEAM),
        lanes=work.table(REF_LANES),
        as_of=work.as_of,
    )


@managed_asset(
    TRUTH_COMMITMENTS,
    reads=[NORM_GATES, NORM_MESSAGES, NORM_MESSAGE_LINKS, NORM_TASKS, NORM_TASK_LINKS],
    code_version=commitments.COMMITMENTS_VERSION,
    kinds=_KINDS,
    depends_on_day=True,
    facts=lambda work: {"org_domains": work.settings.org_domain_list},
)
def truth_commitments(work: Work) -> RowSource:
    """Promises and requests found in mail, with owner, deadline and whether a task tracks them."""
    return commitments.find_commitments(
        work.table(NORM_MESSAGES),
        message_links=work.table(NORM_MESSAGE_LINKS),
        tasks=work.table(NORM_TASKS),
        task_links=work.table(NORM_TASK_LINKS),
        as_of=work.as_of,
        org_domains=work.settings.org_domain_list,
    )


@managed_asset(
    TRUTH_CAPACITY,
    reads=[TRUTH_TIME_BLOCKS, NORM_TASKS, REF_LANES],
    code_version=capacity.CAPACITY_VERSION,
    kinds=_KINDS,
    depends_on_day=True,
)
def truth_capacity(work: Work) -> RowSource:
    """What each lane can do a day, what is planned, and what does not fit."""
    return capacity.measure_capacity(
        work.table(TRUTH_TIME_BLOCKS),
        tasks=work.table(NORM_TASKS),
        lanes=work.table(REF_LANES),
        as_of=work.as_of,
    )


@managed_asset(
    TRUTH_CLIENT_HEALTH,
    reads=[
        NORM_GATES,
        REF_CLIENTS,
        NORM_TASKS,
        NORM_TASK_LINKS,
        NORM_INVOICES,
        NORM_INVOICE_LINKS,
        NORM_MESSAGES,
        NORM_MESSAGE_LINKS,
        TRUTH_COMMITMENTS,
    ],
    code_version=client_health.CLIENT_HEALTH_VERSION,
    kinds=_KINDS,
    depends_on_day=True,
)
def truth_client_health(work: Work) -> RowSource:
    """Each client's health from delivery, cash, responsiveness and commitments, where there is data."""
    return client_health.score_clients(
        work.table(REF_CLIENTS),
        tasks=work.table(NORM_TASKS),
        task_links=work.table(NORM_TASK_LINKS),
        invoices=work.table(NORM_INVOICES),
        invoice_links=work.table(NORM_INVOICE_LINKS),
        messages=work.table(NORM_MESSAGES),
        message_links=work.table(NORM_MESSAGE_LINKS),
        commitments=work.table(TRUTH_COMMITMENTS),
        as_of=work.as_of,
        zone=work.settings.zone,
    )


TRUTH_ASSETS = (truth_time_blocks, truth_commitments, truth_capacity, truth_client_health)
