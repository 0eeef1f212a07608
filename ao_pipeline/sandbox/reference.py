"""`python -m ao_pipeline.sandbox.reference`: write the reference files that match the default seed's agency."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Final

import yaml

from ao_pipeline.sandbox.options import options_from
from ao_pipeline.sandbox.world.agency import Agency, Client, build_agency
from ao_pipeline.settings import Settings, load_settings

_HEADS: Final = {
    "clients": "One entry is one client of the agency. xero_contact_name is null where Xero uses the same name.",
    "brands": "One entry is one brand of a client; its projects' names begin with one of the prefixes.",
    "client_identities": "One entry is one mail address or mail domain that belongs to a client.",
    "team": "One entry is one member of the team; those who left stay with is_active false, for their old work.",
    "lanes": "One entry is one lane: a category of work with a weekly capacity, tried in ascending priority.",
}


def _lane(
    lane_id: str,
    name: str,
    *,
    priority: int,
    weekly_hours: int,
    buffer_ratio: float = 0.2,
    keywords: tuple[str, ...] = (),
    project_keywords: tuple[str, ...] = (),
) -> dict[str, Any]:
    return {
        "lane_id": lane_id,
        "name": name,
        "weekly_hours": weekly_hours,
        "buffer_ratio": buffer_ratio,
        "keywords": list(keywords),
        "project_keywords": list(project_keywords),
        "priority": priority,
    }


LANES: Final = (
    _lane(
        "finance",
        "Finance",
        priority=10,
        weekly_hours=60,
        keywords=("invoice", "payment", "budget", "expense", "accounts receivable", "فاتورة", "الفاتورة"),
        project_keywords=("invoice tracker", "finance ops", "payroll", "procurement"),
    ),
    _lane(
        "people",
        "People",
        priority=20,
        weekly_hours=45,
        keywords=("interview", "onboarding", "performance review", "hr"),
        project_keywords=("hiring", "training"),
    ),
    _lane(
        "growth",
        "Growth",
        priority=30,
        weekly_hours=90,
        buffer_ratio=0.15,
        keywords=("proposal", "pitch", "rfp", "tender", "prospect"),
        project_keywords=("new business",),
    ),
    _lane(
        "governance",
        "Governance",
        priority=40,
        weekly_hours=30,
        keywords=("contract", "audit", "compliance", "policy"),
        project_keywords=("compliance",),
    ),
    _lane(
        "admin",
        "Admin",
        priority=50,
        weekly_hours=60,
        keywords=("weekly report", "sign off", "approval"),
        project_keywords=("town hall", "studio upkeep"),
    ),
    _lane(
        "production",
        "Production",
        priority=60,
        weekly_hours=240,
        keywords=("shoot", "shot list", "subtitles", "run sheet"),
        project_keywords=("product film", "photography days"),
    ),
    _lane(
        "creative",
        "Creative",
        priority=70,
        weekly_hours=280,
        keywords=("storyboard", "moodboard", "key visual", "copy deck", "التصميم"),
        project_keywords=("brand refresh", "packaging"),
    ),
    _lane("client", "Client work", priority=80, weekly_hours=320),
    _lane("ops", "Operations", priority=90, weekly_hours=120),
)
"""Nine lanes; the last two have no words of their own: they take what is left, with and without a client."""


def reference_entries(agency: Agency) -> dict[str, list[dict[str, Any]]]:
    """Return the entries of every reference file by the file's stem."""
    return {
        "clients": [
            {
                "client_id": client.client_id,
                "name": client.name,
                "tier": client.tier,
                "is_active": client.is_active,
                "xero_contact_name": client.xero_contact_name,
                "aliases": list(client.aliases),
            }
            for client in agency.clients
        ],
        "brands": [
            {
                "brand_id": brand.brand_id,
                "client_id": brand.client_id,
                "name": brand.name,
                "project_prefixes": [brand.prefix],
            }
            for brand in agency.brands
        ],
        "client_identities": [entry for client in agency.clients for entry in _identities(client)],
        "team": [
            {
                "member_id": member.member_id,
                "name": member.name,
                "email": member.email,
                "asana_gid": member.asana_gid,
                "chat_user": member.chat_user,
                "default_lane": member.default_lane,
                "weekly_hours": member.weekly_hours,
                "is_active": member.is_active,
            }
            for member in agency.members
        ],
        "lanes": [dict(lane) for lane in LANES],
    }


def _identities(client: Client) -> list[dict[str, Any]]:
    return [
        {"client_id": client.client_id, "kind": "domain", "value": client.domain},
        {"client_id": client.client_id, "kind": "email", "value": client.contact_email},
    ]


def reference_files(agency: Agency) -> dict[str, str]:
    """Return the text of every reference file by its name."""
    return {
        f"{stem}.yaml": f"# {_HEADS[stem]}\n"
        + yaml.safe_dump(entries, allow_unicode=True, sort_keys=False, width=120, default_flow_style=False)
        for stem, entries in reference_entries(agency).items()
    }


def agency_of(settings: Settings) -> Agency:
    """Return the agency that the settings' sandbox simulates."""
    options = options_from(settings)
    return build_agency(
        options.seed, size=options.size, mailboxes=options.mailboxes, workspace_gid=options.asana_workspace_gid
    )


def main(arguments: list[str]) -> int:
    """Write the files; return the exit code."""
    settings = load_settings()
    parser = argparse.ArgumentParser(prog="python -m ao_pipeline.sandbox.reference", description=__doc__)
    parser.add_argument("--out", type=Path, default=settings.reference_path, help="folder to write to")
    out: Path = parser.parse_args(arguments).out
    out.mkdir(parents=True, exist_ok=True)
    for name, text in reference_files(agency_of(settings)).items():
        (out / name).write_text(text, encoding="utf-8")
        print(out / name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
