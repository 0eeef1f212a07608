"""Which lane a task belongs to, and how many minutes it takes: versioned rules over names, tags and projects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ao_pipeline.normalize.rows import Row, fold_name, load_list

LANE_RULES_VERSION: Final = "1"
"""Part of the code version of `norm/tasks`: raise it when a task could change its lane or its estimate."""

CLIENT_LANE: Final = "client"
"""Work under a client's project that no keyword claims."""

DEFAULT_LANE: Final = "ops"

DEFAULT_ESTIMATE_MINUTES: Final = 60

MAX_ESTIMATE_MINUTES: Final = 960
"""Two long days. A larger custom field is a typing mistake (seconds, or a project's total) and is not believed."""

_WHOLE_WORD_CHARACTERS: Final = 3
"""Keywords up to this length match whole words only: `hr` must not match `through`. Longer ones may be inflected."""

_MINUTES_BY_VERB: Final = (
    (15, ("confirm", "reply", "call", "remind", "ping", "forward", "send")),
    (30, ("check", "update", "upload", "schedule", "follow up", "review", "approve")),
    (60, ("meeting", "write", "draft", "edit", "brief", "revise", "export")),
    (90, ("research", "analyse", "analyze", "plan", "storyboard")),
    (120, ("design", "build", "develop", "prepare", "shoot", "animate")),
    (180, ("strategy", "launch", "produce", "pitch deck")),
)
_ESTIMATE_FIELDS: Final = frozenset({"estimated minutes", "estimate minutes", "estimated time", "estimate min"})


@dataclass(frozen=True)
class LaneRule:
    """One lane's folded keywords, in the order in which lanes are tried."""

    lane_id: str
    keywords: tuple[str, ...]
    project_keywords: tuple[str, ...]


def lane_rules(lanes: Iterable[Row]) -> tuple[LaneRule, ...]:
    """Return the rules of `ref_lanes` rows, by ascending priority, then by id."""
    ordered = sorted(lanes, key=lambda row: (row["priority"], row["lane_id"]))
    return tuple(
        LaneRule(
            row["lane_id"],
            tuple(filter(None, map(fold_name, load_list(row["keywords_json"])))),
            tuple(filter(None, map(fold_name, load_list(row["project_keywords_json"])))),
        )
        for row in ordered
    )


def assign_lane(
    rules: Sequence[LaneRule],
    *,
    text: str,
    project: Row | None,
    member_lane: str | None,
) -> tuple[str | None, str]:
    """Return a task's lane and the rule that chose it; the first that fits wins.

    Args:
        rules: From `lane_rules`.
        text: The task's name and tags, folded.
        project: Its row of `norm_projects`, or None.
        member_lane: The default lane of the member it is assigned to.
    """
    lane_ids = {rule.lane_id for rule in rules}
    project_name = project["name_normalized"] if project is not None else ""
    for rule in rules:
        if any(_matches(project_name, word) for word in rule.project_keywords):
            return rule.lane_id, "project_keyword"
        if any(_matches(text, word) for word in rule.keywords):
            return rule.lane_id, "keyword"
    if project is not None and not project["is_internal"] and CLIENT_LANE in lane_ids:
        return CLIENT_LANE, "client_project"
    if member_lane in lane_ids:
        return member_lane, "member"
    if DEFAULT_LANE in lane_ids:
        return DEFAULT_LANE, "default"
    return (rules[0].lane_id, "default") if rules else (None, "none")


def estimate_minutes(folded_name: str, custom_fields: Iterable[Mapping[str, Any]]) -> tuple[int, str]:
    """Return a task's minutes and the rule: a custom field that says so, else the first verb known, else the default."""
    for field in custom_fields:
        if fold_name(str(field.get("name") or "")) not in _ESTIMATE_FIELDS:
            continue
        try:
            minutes = round(float(str(field.get("display_value"))))
        except (ValueError, OverflowError):
            continue
        if 0 < minutes <= MAX_ESTIMATE_MINUTES:
            return minutes, "custom_field"
    for minutes, verbs in _MINUTES_BY_VERB:
        if any(_matches(folded_name, verb) for verb in verbs):
            return minutes, "verb"
    return DEFAULT_ESTIMATE_MINUTES, "default"


def _matches(folded: str, word: str) -> bool:
    if not folded:
        return False
    if len(word) <= _WHOLE_WORD_CHARACTERS:
        return f" {word} " in f" {folded} "
    return f" {word}" in f" {folded}"
