"""What the agency is made of: people, clients, brands, projects, spaces and calendars, fixed by seed and size."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

from ao_pipeline.sandbox.world import names
from ao_pipeline.sandbox.world.draw import Draw
from ao_pipeline.sandbox.world.size import WorldSize

ORG_DOMAIN: Final = "agency.example"
ORG_ZONE: Final = "Asia/Dubai"
DEFAULT_MAILBOXES: Final = ("ops@agency.example", "accounts@agency.example")
DEFAULT_WORKSPACE: Final = "1200000000000001"
LANES: Final = ("ops", "client", "finance", "governance", "admin", "people", "growth", "creative", "production")
_FOREIGN: Final = {2: "USD", 5: "EUR", 7: "USD", 9: "KWD", 14: "GBP"}
"""Currency by a client's index modulo 20; others pay in AED. KWD has three minor digits: two are wrong by ten."""

_MEMBERS_LEFT: Final = 3
_WITHOUT_ASANA: Final = 2
_WITHOUT_CHAT: Final = 2
_TWIN: Final = (4, 17)
"""Clients with these indexes carry one name: a link by name alone must notice."""


@dataclass(frozen=True)
class Member:
    """One person of the team, or one who left it."""

    member_id: str
    name: str
    email: str
    asana_gid: str | None
    chat_user: str | None
    default_lane: str
    weekly_hours: int
    is_active: bool


@dataclass(frozen=True)
class Client:
    """One client; the contact is the person who writes mails."""

    client_id: str
    name: str
    tier: str
    is_active: bool
    domain: str
    contact_name: str
    contact_email: str
    xero_contact_name: str | None
    aliases: tuple[str, ...]
    currency: str


@dataclass(frozen=True)
class Brand:
    """One brand of one client."""

    brand_id: str
    client_id: str
    client_index: int
    name: str
    prefix: str


@dataclass(frozen=True)
class Project:
    """One Asana project as it was first named."""

    gid: str
    name: str
    brand_index: int | None
    is_archived: bool
    sections: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Agency:
    """Everything that every life refers to."""

    seed: int
    size: WorldSize
    mailboxes: tuple[str, ...]
    workspace_gid: str
    members: tuple[Member, ...]
    clients: tuple[Client, ...]
    brands: tuple[Brand, ...]
    projects: tuple[Project, ...]
    spaces: tuple[tuple[str, str], ...]
    """Name `spaces/…` and display name; the last one stays empty."""
    calendars: tuple[tuple[str, str], ...]
    """Calendar id and summary; the first is the subject's own."""

    @cached_property
    def assignees(self) -> list[Member]:
        """Active people with an Asana account, the busiest first."""
        return [member for member in self.members if member.asana_gid is not None and member.is_active]

    @cached_property
    def leavers(self) -> list[Member]:
        """People who left but still own old tasks."""
        return [member for member in self.members if member.asana_gid is not None and not member.is_active]

    @cached_property
    def chatters(self) -> list[str]:
        """Chat users of everybody who has one, the busiest first."""
        return [member.chat_user for member in self.members if member.chat_user is not None]


def slug(text: str) -> str:
    """Return lower-case words joined by hyphens."""
    return "-".join("".join(c if c.isalnum() else " " for c in text.lower()).split())


def build_agency(
    seed: int,
    *,
    size: WorldSize,
    mailboxes: tuple[str, ...] = DEFAULT_MAILBOXES,
    workspace_gid: str = DEFAULT_WORKSPACE,
) -> Agency:
    """Return the agency of a seed."""
    members = tuple(_member(seed, size, index) for index in range(size.members))
    clients = tuple(_client(seed, index) for index in range(size.clients))
    brands = tuple(_brand(clients, index) for index in range(size.brands))
    return Agency(
        seed=seed,
        size=size,
        mailboxes=mailboxes,
        workspace_gid=workspace_gid,
        members=members,
        clients=clients,
        brands=brands,
        projects=tuple(_project(seed, size, brands, index) for index in range(size.projects)),
        spaces=tuple(_space(seed, size, index) for index in range(size.spaces)),
        calendars=_calendars(seed, size, mailboxes[0], members),
    )


def _member(seed: int, size: WorldSize, index: int) -> Member:
    draw = Draw(seed, "member", index)
    rounds, place = divmod(index, len(names.GIVEN))
    given = names.GIVEN[place]
    family = names.FAMILY[(index * 7 + rounds * 3 + seed) % len(names.FAMILY)]
    email = f"{slug(given)}.{slug(family)}@{ORG_DOMAIN}"
    if rounds:
        email = f"{slug(given)}.{slug(family)}{rounds}@{ORG_DOMAIN}"
    last = size.members - 1
    has_left = last - _MEMBERS_LEFT < index <= last
    return Member(
        member_id=f"member-{slug(given)}-{slug(family)}" + (f"-{rounds}" if rounds else ""),
        name=f"{given} {family}",
        email=email,
        asana_gid=None if index in range(10, 10 + _WITHOUT_ASANA) else str(1200000000100000 + index),
        chat_user=None
        if index in range(14, 14 + _WITHOUT_CHAT)
        else f"users/{104000000000000000000 + seed % 10**6 * 1000 + index}",
        default_lane=LANES[index % len(LANES)],
        weekly_hours=draw.pick((40, 40, 40, 40, 32, 24, 20)),
        is_active=not has_left,
    )


def _client_name(seed: int, index: int) -> str:
    firsts, seconds = len(names.CLIENT_FIRST), len(names.CLIENT_SECOND)
    # Both strides are coprime to the list lengths, so names repeat only after all pairs of a round are used.
    first = names.CLIENT_FIRST[(index * 7 + seed) % firsts]
    second = names.CLIENT_SECOND[(index * 5 + index // firsts + seed) % seconds]
    return f"{first} {second}"


def _client(seed: int, index: int) -> Client:
    draw = Draw(seed, "client", index)
    is_twin = index == _TWIN[1]
    name = _client_name(seed, _TWIN[0] if is_twin else index)
    domain = f"{slug(name).replace('-', '')}{index if is_twin else ''}.example"
    contact = f"{draw.pick(names.GIVEN)} {draw.pick(names.FAMILY)}"
    suffix = names.COMPANY_SUFFIXES[index % len(names.COMPANY_SUFFIXES)]
    return Client(
        client_id=f"client-{slug(name)}" + ("-two" if is_twin else ""),
        name=name,
        tier="A" if index < 3 else "B" if index < 10 else "C",
        is_active=index % 19 != 18,
        domain=domain,
        contact_name=contact,
        contact_email=f"{slug(contact.split()[0])}@{domain}",
        xero_contact_name=None if index % 8 == 7 else f"{name} {suffix}",
        aliases=(name.split()[0] + " " + suffix, name.upper()) if index % 3 == 0 else (),
        currency=_FOREIGN.get(index % 20, "AED"),
    )


def _brand(clients: tuple[Client, ...], index: int) -> Brand:
    client_index = index % len(clients)
    client = clients[client_index]
    is_second = index >= len(clients)
    first, second = client.name.split()
    name = f"{first} Kids" if is_second else client.name
    if client.client_id.endswith("-two"):
        name = f"{first} {second} West"
    return Brand(
        brand_id=f"brand-{slug(name)}" + (f"-{index}" if is_second else ""),
        client_id=client.client_id,
        client_index=client_index,
        name=name,
        prefix=name,
    )


def _project(seed: int, size: WorldSize, brands: tuple[Brand, ...], index: int) -> Project:
    draw = Draw(seed, "project", index)
    gid = str(1201000000000000 + index)
    brand_index: int | None = None
    if index % 8 == 0:
        subject = names.INTERNAL_SUBJECTS[index // 8 % len(names.INTERNAL_SUBJECTS)]
        name = f"Internal: {subject}"
    else:
        brand_index = index % len(brands)
        subject = names.PROJECT_SUBJECTS[index * 3 % len(names.PROJECT_SUBJECTS)]
        separator = draw.pick((": ", ": ", " - ", " | "))
        # One in twenty has a name that no prefix explains: the link must stay open, not be guessed.
        name = f"{subject} 2026" if index % 20 == 19 else f"{brands[brand_index].prefix}{separator}{subject}"
    sections = tuple(
        (str(1202000000000000 + index * 10 + place), title)
        for place, title in enumerate(("To do", "In progress", "Review", "Done ✅"))
    )
    return Project(gid=gid, name=name, brand_index=brand_index, is_archived=index % 13 == 12, sections=sections)


def _space(seed: int, size: WorldSize, index: int) -> tuple[str, str]:
    title = names.SPACES[-1] if index == size.spaces - 1 else names.SPACES[index % (len(names.SPACES) - 1)]
    rounds = index // (len(names.SPACES) - 1)
    return f"spaces/AAA{Draw(seed, 'space', index).hexadecimal(8)}", f"{title} {rounds}" if rounds else title


def _calendars(seed: int, size: WorldSize, subject: str, members: tuple[Member, ...]) -> tuple[tuple[str, str], ...]:
    group = f"c_{Draw(seed, 'calendar').hexadecimal(26)}@group.calendar.google.com"
    people = tuple((member.email, member.name) for member in members[: max(0, size.calendars - 2)])
    return ((subject, subject), *people, (group, "Studio bookings"))
