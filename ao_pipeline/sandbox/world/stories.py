"""Stories of Asana tasks: what the system notes, told by the task itself, and comments, which are objects of their own."""

from __future__ import annotations

from typing import Final

from ao_pipeline.sandbox.world.records import Collection, Json, Record

COMMENTS: Final = "comments"
"""Collection of the comments, those of deleted tasks included: nobody can ask for them any more."""


def build_comment(gid: str, task: str, at: str, text: str, author: Json | None) -> Json:
    """Return a comment, which keeps its task as `target`."""
    return {
        **_story(gid, at, "comment_added", text, author),
        "type": "comment",
        "target": {"gid": task, "resource_type": "task"},
    }


def comment_gid(task: str, number: int) -> str:
    """Return the gid of a comment by its number below its task."""
    return f"15{task[2:]}{number}"


def stories_of(task: Json, comments: Collection) -> list[Record]:
    """Return the stories of one task by key: its creation, which has no author, its completion, and its comments."""
    base = f"14{task['gid'][2:]}"
    told = [_story(f"{base}1", task["created_at"], "added", "added this task", None)]
    if task["completed"]:
        told.append(
            _story(f"{base}2", task["completed_at"], "marked_complete", "marked this task complete", task["assignee"])
        )
    target = {"target": {"gid": task["gid"], "resource_type": "task"}}
    records = [Record(story["gid"], {**story, **target}, at=0, sequence=0) for story in told]
    return records + comments.index("by_task", _place_at_task).present(task["gid"])


def _story(gid: str, at: str, subtype: str, text: str, author: Json | None) -> Json:
    return {
        "gid": gid,
        "resource_type": "story",
        "created_at": at,
        "resource_subtype": subtype,
        "text": text,
        "type": "system",
        "created_by": author,
    }


def _place_at_task(comment: Record) -> list[tuple[str, str]]:
    return [(comment.data["target"]["gid"], "")]
