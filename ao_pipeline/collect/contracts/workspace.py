"""Google Tasks, People, Drive: the fields that are read. As elsewhere at Google, empty fields and lists are left out.

Source: Google discovery documents tasks v1, people v1, drive v3; Apache-2.0 descriptions.
"""

from __future__ import annotations

from typing import Final

from ao_pipeline.collect.contracts.contract import (
    BOOLEAN,
    INTEGER,
    TEXT,
    TOKEN,
    PageContract,
    RecordContract,
    list_of,
    object_of,
)


def _page(operation: str, items: str, key: str, known: str = "", cursors: tuple[str, ...] = ()) -> PageContract:
    """Return a page whose list may be absent; where the vendor always says its kind, `{}` is not such a page."""
    return PageContract(
        operation,
        items,
        key,
        is_empty_legal=True,
        known_keys=frozenset(known.split()) | {"nextPageToken", *cursors},
        extra=dict.fromkeys(("nextPageToken", *cursors), TOKEN),
        required=("kind",) if "kind" in known.split() else (),
    )


LISTS_PAGE: Final = _page("tasks.tasklists.list", "items", "id", "kind etag")
LIST: Final = RecordContract(
    name="tasks.list",
    key_field="id",
    properties={"title": TEXT, "updated": TEXT},
    known_fields=frozenset({"kind", "etag", "selfLink"}),
)
TASKS_PAGE: Final = _page("tasks.tasks.list", "items", "id", "kind etag")
TASK: Final = RecordContract(
    name="tasks.task",
    key_field="id",
    properties={
        "title": TEXT,
        "notes": TEXT,
        "status": TEXT,
        "due": TEXT,
        "completed": TEXT,
        "parent": TEXT,
        "hidden": BOOLEAN,
        "deleted": BOOLEAN,
        "position": TEXT,
        "webViewLink": TEXT,
        "updated": TEXT,
    },
    known_fields=frozenset({"kind", "etag", "selfLink", "links", "assignmentInfo"}),
    enums={"status": frozenset({"needsAction", "completed"})},
)

CONNECTIONS_PAGE: Final = _page(
    "people.connections.list", "connections", "resourceName", "totalItems totalPeople", ("nextSyncToken",)
)
_MARKS: Final = object_of(primary=BOOLEAN)
_ABOUT: Final = object_of(deleted=BOOLEAN, sources=list_of(object_of(updateTime=TEXT))) | {
    "anyOf": [
        {"type": "null"},
        {"maxProperties": 0},
        *({"required": [name]} for name in ("deleted", "sources", "objectType", "previousResourceNames")),
    ]
}
"""Only here does a person say that it is gone: an object with nothing of what the vendor puts there is no answer."""
PERSON: Final = RecordContract(
    name="people.person",
    key_field="resourceName",
    properties={
        "names": list_of(object_of(metadata=_MARKS, displayName=TEXT, givenName=TEXT, familyName=TEXT)),
        "emailAddresses": list_of(object_of(metadata=_MARKS, value=TEXT, type=TEXT)),
        "phoneNumbers": list_of(object_of(metadata=_MARKS, value=TEXT, type=TEXT)),
        "organizations": list_of(object_of(metadata=_MARKS, name=TEXT, title=TEXT, department=TEXT)),
        "metadata": _ABOUT,
    },
    known_fields=frozenset({"etag"}),
)
PERSON_FIELDS: Final = "emailAddresses,metadata,names,organizations,phoneNumbers"
"""`personFields` of every call. A sync token holds only for the parameters of its full listing."""

FILES_PAGE: Final = _page("drive.files.list", "files", "id", "kind incompleteSearch")
CHANGES_PAGE: Final = _page("drive.changes.list", "changes", "changeType", "kind", ("newStartPageToken",))
FILE: Final = RecordContract(
    name="drive.file",
    key_field="id",
    properties={
        "name": TEXT,
        "mimeType": TEXT,
        "parents": list_of({"type": "string"}),
        "owners": list_of(object_of(emailAddress=TEXT)),
        "trashed": BOOLEAN,
        "shared": BOOLEAN,
        "size": INTEGER,
        "md5Checksum": TEXT,
        "webViewLink": TEXT,
        "createdTime": TEXT,
        "modifiedTime": TEXT,
    },
    known_fields=frozenset({"kind"}),
)
FILE_FIELDS: Final = (
    "id,name,mimeType,parents,owners(emailAddress),trashed,shared,size,md5Checksum,webViewLink,createdTime,modifiedTime"
)
"""Without a mask Drive answers with name and type only; with one, with exactly what it names."""
