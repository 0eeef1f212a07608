"""What stands still, or nearly: Asana users and projects, chat spaces, calendars; and the lives of project changes."""

from __future__ import annotations

from typing import Final

from ao_pipeline.sandbox.world import names
from ao_pipeline.sandbox.world.agency import ORG_ZONE, Agency, Member
from ao_pipeline.sandbox.world.draw import Draw
from ao_pipeline.sandbox.world.records import Change, Json

RENAMES: Final = (120, 60)
"""Project changes per days: two a day, whatever the size."""
SECTION_RENAMES: Final = (60, 60)
"""Renamed sections per days: one a day."""
_COLORS: Final = ("green", "green", "green", "yellow", "red", "blue", "aqua")
"""`aqua` is in no published list: the vendor's enums are open."""


def users(agency: Agency) -> list[Json]:
    """Return the Asana users of the workspace; people who left are no longer listed."""
    return [_user(agency, member) for member in agency.members if member.asana_gid is not None and member.is_active]


def _user(agency: Agency, member: Member) -> Json:
    return {
        "gid": member.asana_gid,
        "resource_type": "user",
        "name": member.name,
        # Asana hides the address of some users from a token without the right to see it.
        "email": None if str(member.asana_gid).endswith("08") else member.email,
        "photo": None,
        "workspaces": [{"gid": agency.workspace_gid, "resource_type": "workspace", "name": "Agency"}],
    }


def first_projects(agency: Agency) -> list[Json]:
    """Return the projects as they were first named."""
    made = []
    for index, project in enumerate(agency.projects):
        draw = Draw(agency.seed, "project-look", index)
        owner = draw.pick(agency.assignees)
        created = f"2024-{draw.between(1, 12):02d}-{draw.between(1, 28):02d}T08:00:00.000Z"
        made.append(
            {
                "gid": project.gid,
                "resource_type": "project",
                "name": project.name,
                "archived": project.is_archived,
                "completed": False,
                "owner": {"gid": owner.asana_gid, "resource_type": "user", "name": owner.name}
                if draw.chance(0.9)
                else None,
                "due_on": f"2027-{draw.between(1, 12):02d}-15" if draw.chance(0.5) else None,
                "due_date": None,
                "start_on": None,
                "current_status": {"gid": f"12050000{index:08d}", "color": draw.pick(_COLORS), "text": ""}
                if draw.chance(0.7)
                else None,
                "created_at": created,
                "modified_at": created,
                "notes": "",
                "public": True,
                "members": [],
                "team": {"gid": "1206000000000001", "resource_type": "team", "name": "Studio"},
                "workspace": {"gid": agency.workspace_gid, "resource_type": "workspace", "name": "Agency"},
                "permalink_url": f"https://tasks.example/0/{project.gid}/list",
            }
        )
    return made


def sections(agency: Agency) -> list[Json]:
    """Return the sections of every project."""
    return [
        {
            "gid": gid,
            "resource_type": "section",
            "name": title,
            "created_at": "2024-04-01T08:00:00.000Z",
            "project": {"gid": project.gid, "resource_type": "project", "name": project.name},
        }
        for project in agency.projects
        for gid, title in project.sections
    ]


def section_life(agency: Agency, number: int, birth: int) -> list[Change]:
    """Return one change of one section: another name. Its project's modified time does not move."""
    draw = Draw(agency.seed, "section-change", number)
    gid, title = draw.pick(draw.pick(agency.projects).sections)
    return [Change(birth, "sections", gid, 1 + number, "patch", {"name": f"{title} {draw.between(2, 9)}"})]


def project_life(agency: Agency, number: int, birth: int) -> list[Change]:
    """Return one change of one project: another status, more rarely another name."""
    draw = Draw(agency.seed, "project-change", number)
    index = draw.below(len(agency.projects))
    project = agency.projects[index]
    fields: Json = {"current_status": {"gid": f"12050000{index:08d}", "color": draw.pick(_COLORS), "text": ""}}
    if draw.chance(0.15):
        subject = draw.pick(names.PROJECT_SUBJECTS)
        brand = None if project.brand_index is None else agency.brands[project.brand_index]
        fields = {
            "name": f"Internal: {draw.pick(names.INTERNAL_SUBJECTS)}" if brand is None else f"{brand.prefix}: {subject}"
        }
    return [Change(birth, "projects", project.gid, 1 + number, "patch", fields)]


def space(name: str, title: str) -> Json:
    """Return a chat space."""
    return {
        "name": name,
        "type": "ROOM",
        "displayName": title,
        "spaceThreadingState": "THREADED_MESSAGES",
        "spaceType": "SPACE",
        "spaceHistoryState": "HISTORY_ON",
        "createTime": "2024-05-02T07:30:00.123456Z",
        "membershipCount": {"joinedDirectHumanUserCount": 12},
        "spaceUri": f"https://chat.example/room/{name.split('/')[1]}",
    }


def calendar(calendar_id: str, summary: str, *, is_primary: bool) -> Json:
    """Return a calendar list entry."""
    entry: Json = {
        "kind": "calendar#calendarListEntry",
        "etag": '"1"',
        "id": calendar_id,
        "summary": summary,
        "timeZone": ORG_ZONE,
        "colorId": "14",
        "selected": True,
        "accessRole": "owner" if is_primary else "reader",
        "defaultReminders": [],
    }
    return {**entry, "primary": True} if is_primary else entry
