"""Lives of Asana tasks: created, renamed, handed over, moved, rescheduled, completed, deleted."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from ao_pipeline.clock import from_micros, to_iso
from ao_pipeline.sandbox.world import names
from ao_pipeline.sandbox.world.agency import Agency, Member, Project
from ao_pipeline.sandbox.world.draw import Draw
from ao_pipeline.sandbox.world.records import Change, Json
from ao_pipeline.sandbox.world.size import DAY_MICROS, HOUR_MICROS
from ao_pipeline.sandbox.world.stories import COMMENTS, build_comment, comment_gid

FAMILY: Final = 20
"""Tasks refer to parents within their block of this many numbers."""
_SUBTASKS: Final = (13, 17)
_LONGEST_OPEN_SHARE: Final = 2.5
"""Life times reach this many horizons, so one fifth of the tasks within one horizon is done."""
TAGS: Final = (("1203000000000001", "urgent"), ("1203000000000002", "campaign"), ("1203000000000003", "عربي"))
_FIELDS: Final = (
    ("1204000000000001", "Priority", ("Low", "Medium", "High")),
    ("1204000000000002", "Estimated minutes", ()),
)


def task_gid(number: int) -> str:
    """Return the gid of a task's number."""
    return str(1300000000000000 + number)


def task_life(agency: Agency, number: int, birth: int) -> list[Change]:
    """Return every change of one task, in order."""
    draw = Draw(agency.seed, "task", number)
    block, place = divmod(number, FAMILY)
    parent_place = Draw(agency.seed, "family", block).below(12)
    is_subtask = place in _SUBTASKS
    gid = task_gid(number)
    fields = _first_fields(agency, draw, gid, birth, is_subtask=is_subtask)
    changes: list[Change] = []
    if is_subtask:
        parent = task_gid(block * FAMILY + parent_place)
        fields["parent"] = {"gid": parent, "resource_type": "task", "name": "", "resource_subtype": "default_task"}
        count = _SUBTASKS.index(place) + 1
        changes.append(Change(birth + 1, "tasks", parent, 100 + place, "patch", {"num_subtasks": count}))
    changes.insert(0, Change(birth, "tasks", gid, 0, "put", fields))
    planned = _planned(agency, draw, birth, fields)
    if not is_subtask and place != parent_place and draw.chance(0.04):
        planned.append((birth + DAY_MICROS + draw.below(40 * DAY_MICROS), None))
    for step, (at, patch) in enumerate(sorted(planned, key=lambda item: item[0]), start=1):
        changes.append(Change(at, "tasks", gid, step, "drop" if patch is None else "patch", patch or {"gid": gid}))
        if patch is None:
            break
        if "notes" in patch:
            key, author = comment_gid(gid, step), fields["assignee"]
            comment = build_comment(key, gid, to_iso(from_micros(at)), "Notes updated, see above. تم التحديث", author)
            changes.append(Change(at, COMMENTS, key, step, "put", comment))
    return changes


def _first_fields(agency: Agency, draw: Draw, gid: str, birth: int, *, is_subtask: bool) -> Json:
    project = None if is_subtask or not draw.chance(0.70) else draw.skewed(agency.projects)
    memberships = [] if project is None else [_membership(project, 0)]
    if project is not None and draw.chance(0.05):
        other = agency.projects[(agency.projects.index(project) + 7) % len(agency.projects)]
        memberships.append(_membership(other, 0))
    leavers = agency.leavers
    assignee: Member | None = draw.skewed(agency.assignees)
    # Without a project a task is reached through its assignee alone, and people who left are not listed.
    if leavers and project is not None and draw.chance(0.03):
        assignee = draw.pick(leavers)
    elif project is not None and draw.chance(0.08):
        assignee = None
    created = from_micros(birth)
    due = (created + timedelta(hours=4)).date() + timedelta(
        days=draw.between(3, 2 * agency.size.task_horizon_days + 10)
    )
    has_due = draw.chance(0.9)
    due_at = f"{due.isoformat()}T13:00:00.000Z" if has_due and draw.chance(0.15) else None
    return {
        "gid": gid,
        "resource_type": "task",
        "name": task_name(draw),
        "resource_subtype": "default_task",
        "completed": False,
        "completed_at": None,
        "created_at": to_iso(created),
        "modified_at": to_iso(created),
        "due_on": due.isoformat() if has_due else None,
        "due_at": due_at,
        "start_on": None,
        "assignee": None if assignee is None else person(assignee),
        "assignee_status": "upcoming",
        "parent": None,
        "num_subtasks": 0,
        "notes": task_notes(draw),
        "memberships": memberships,
        "projects": [item["project"] for item in memberships],
        "tags": [_tag(*draw.pick(TAGS))] if draw.chance(0.25) else [],
        "custom_fields": _custom_fields(draw),
        "followers": [],
        "liked": False,
        "workspace": {"gid": agency.workspace_gid, "resource_type": "workspace", "name": "Agency"},
        "permalink_url": f"https://tasks.example/0/{gid}",
    }


def _planned(agency: Agency, draw: Draw, birth: int, fields: Json) -> list[tuple[int, Json | None]]:
    span = agency.size.task_horizon_days * DAY_MICROS
    planned: list[tuple[int, Json | None]] = []

    def later(probability: float, within: int) -> int | None:
        chosen, delay = draw.chance(probability), draw.below(within)
        return birth + HOUR_MICROS // 4 + delay if chosen else None

    done_at = birth + HOUR_MICROS // 2 + draw.below(int(span * _LONGEST_OPEN_SHARE))
    planned.append((done_at, {"completed": True, "completed_at": to_iso(from_micros(done_at))}))
    if (at := later(0.03, span)) is not None:
        planned.append((max(at, done_at + HOUR_MICROS), {"completed": False, "completed_at": None}))
    if (at := later(0.12, span // 2)) is not None:
        planned.append((at, {"name": task_name(draw)}))
    if (at := later(0.12, span // 2)) is not None:
        planned.append((at, {"assignee": person(draw.skewed(agency.assignees))}))
    if (at := later(0.15, span // 2)) is not None:
        planned.append((at, {"notes": task_notes(draw) + "\nUpdate: see the thread."}))
    if fields["due_on"] is not None and (at := later(0.2, span // 2)) is not None:
        due = from_micros(at).date() + timedelta(days=draw.between(5, 90))
        planned.append((at, {"due_on": due.isoformat(), "due_at": None}))
    if fields["memberships"] and (at := later(0.35, span)) is not None:
        gid = fields["memberships"][0]["project"]["gid"]
        project = next(item for item in agency.projects if item.gid == gid)
        if draw.chance(0.2):
            project = draw.pick(agency.projects)
        membership = _membership(project, draw.between(1, 3))
        planned.append((at, {"memberships": [membership], "projects": [membership["project"]]}))
    return planned


def person(member: Member) -> Json:
    """Return the compact user that Asana nests in other objects."""
    return {"gid": member.asana_gid, "resource_type": "user", "name": member.name}


def task_name(draw: Draw) -> str:
    """Return an English or Arabic task name, one in ten with an emoji."""
    if draw.chance(0.12):
        return draw.pick(names.ARABIC_TASKS) + draw.pick(names.TASK_TAILS)
    return f"{draw.pick(names.TASK_VERBS)} {draw.pick(names.TASK_OBJECTS)}{draw.pick(names.TASK_TAILS)}"


def task_notes(draw: Draw) -> str:
    """Return notes, empty for half of the tasks."""
    if draw.chance(0.5):
        return ""
    verb, thing = draw.pick(names.TASK_VERBS).lower(), draw.pick(names.TASK_OBJECTS)
    return f"Please {verb} the {thing}. الرجاء التأكيد.\n– see brief"


def _membership(project: Project, section: int) -> Json:
    gid, title = project.sections[section]
    return {
        "project": {"gid": project.gid, "resource_type": "project", "name": project.name},
        "section": {"gid": gid, "resource_type": "section", "name": title},
    }


def _tag(gid: str, name: str) -> Json:
    return {"gid": gid, "resource_type": "tag", "name": name}


def _custom_fields(draw: Draw) -> list[Json]:
    (priority_gid, priority, levels), (effort_gid, effort, _) = _FIELDS
    level: Any = draw.pick(levels) if draw.chance(0.6) else None
    minutes: Any = draw.pick((15, 30, 60, 90, 120, 180, 240, 480)) if draw.chance(0.3) else None
    return [
        {
            "gid": priority_gid,
            "resource_type": "custom_field",
            "name": priority,
            "type": "enum",
            "display_value": level,
        },
        {
            "gid": effort_gid,
            "resource_type": "custom_field",
            "name": effort,
            "type": "number",
            "number_value": minutes,
            "display_value": None if minutes is None else str(minutes),
        },
    ]
