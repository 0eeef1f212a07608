"""Gmail, Calendar, Chat: the fields that are read. Google omits empty fields and empty lists; a page may be `{}`.

Source: Google discovery documents gmail v1, calendar v3, chat v1; Apache-2.0 descriptions.
"""

from __future__ import annotations

from typing import Final

from ao_pipeline.collect.contracts.contract import (
    BOOLEAN,
    INTEGER,
    KEY,
    TEXT,
    TOKEN,
    PageContract,
    RecordContract,
    Schema,
    list_of,
    object_of,
)


def _page(operation: str, items: str, key: str, known: str, **extra: Schema) -> PageContract:
    schemas = {"nextPageToken": TOKEN, "nextSyncToken": TOKEN, **extra}
    return PageContract(
        operation,
        items,
        key,
        is_empty_legal=True,
        known_keys=frozenset(known.split()) | {"nextPageToken"},
        extra=schemas,
    )


MESSAGES_PAGE: Final = _page("gmail.messages.list", "messages", "id", "resultSizeEstimate")
HISTORY_PAGE: Final = _page("gmail.history.list", "history", "id", "historyId", historyId=KEY)
MAIL: Final = RecordContract(
    name="gmail.message",
    key_field="id",
    properties={
        "threadId": TEXT,
        "historyId": INTEGER,
        "internalDate": INTEGER,
        "labelIds": list_of({"type": "string"}),
        "snippet": TEXT,
        "sizeEstimate": INTEGER,
        "payload": object_of(
            partId=TEXT,
            mimeType=TEXT,
            filename=TEXT,
            headers=list_of(object_of(name=TEXT, value=TEXT)),
            body=object_of(data=TEXT, size=INTEGER),
            parts=list_of({"type": "object"}),
        ),
    },
    known_fields=frozenset({"classificationLabelValues", "raw"}),
)

CALENDARS_PAGE: Final = _page("calendar.calendarList.list", "items", "id", "kind etag nextSyncToken")
CALENDAR: Final = RecordContract(
    name="calendar.calendar",
    key_field="id",
    properties={
        "summary": TEXT,
        "summaryOverride": TEXT,
        "description": TEXT,
        "timeZone": TEXT,
        "accessRole": TEXT,
        "primary": BOOLEAN,
        "selected": BOOLEAN,
        "hidden": BOOLEAN,
        "deleted": BOOLEAN,
    },
    known_fields=frozenset(
        [
            "autoAcceptInvitations",
            "backgroundColor",
            "colorId",
            "conferenceProperties",
            "dataOwner",
            "defaultReminders",
            "etag",
            "foregroundColor",
            "kind",
            "location",
            "notificationSettings",
        ]
    ),
    enums={"accessRole": frozenset({"freeBusyReader", "reader", "writer", "owner"})},
)
EVENTS_PAGE: Final = _page(
    "calendar.events.list",
    "items",
    "id",
    "kind etag nextSyncToken summary updated timeZone accessRole defaultReminders",
)
_EVENT_TIME: Final = object_of(date=TEXT, dateTime=TEXT, timeZone=TEXT)
EVENT: Final = RecordContract(
    name="calendar.event",
    key_field="id",
    properties={
        "status": TEXT,
        "summary": TEXT,
        "location": TEXT,
        "start": _EVENT_TIME,
        "end": _EVENT_TIME,
        "originalStartTime": _EVENT_TIME,
        "organizer": object_of(email=TEXT),
        "attendees": list_of(
            object_of(email=TEXT, displayName=TEXT, responseStatus=TEXT, organizer=BOOLEAN, optional=BOOLEAN)
        ),
        "recurringEventId": TEXT,
        "recurrence": list_of({"type": "string"}),
        "eventType": TEXT,
        "hangoutLink": TEXT,
        "conferenceData": object_of(entryPoints=list_of(object_of(entryPointType=TEXT, uri=TEXT))),
        "created": TEXT,
        "updated": TEXT,
    },
    known_fields=frozenset(
        [
            "anyoneCanAddSelf",
            "attachments",
            "attendeesOmitted",
            "birthdayProperties",
            "colorId",
            "creator",
            "description",
            "endTimeUnspecified",
            "etag",
            "eventLabelId",
            "extendedProperties",
            "focusTimeProperties",
            "gadget",
            "guestsCanInviteOthers",
            "guestsCanModify",
            "guestsCanSeeOtherGuests",
            "htmlLink",
            "iCalUID",
            "kind",
            "locked",
            "outOfOfficeProperties",
            "privateCopy",
            "reminders",
            "sequence",
            "source",
            "transparency",
            "visibility",
            "workingLocationProperties",
        ]
    ),
    enums={
        "status": frozenset({"confirmed", "tentative", "cancelled"}),
        "eventType": frozenset({"default", "birthday", "focusTime", "fromGmail", "outOfOffice", "workingLocation"}),
    },
)

SPACES_PAGE: Final = _page("chat.spaces.list", "spaces", "name", "")
MEMBERS_PAGE: Final = _page("chat.members.list", "memberships", "name", "")
CHAT_PAGE: Final = _page("chat.messages.list", "messages", "name", "")
SPACE: Final = RecordContract(
    name="chat.space",
    key_field="name",
    properties={"displayName": TEXT, "spaceType": TEXT, "spaceThreadingState": TEXT, "createTime": TEXT},
    known_fields=frozenset(
        [
            "accessSettings",
            "adminInstalled",
            "customer",
            "externalUserAllowed",
            "importMode",
            "importModeExpireTime",
            "lastActiveTime",
            "membershipCount",
            "permissionSettings",
            "predefinedPermissionSettings",
            "singleUserBotDm",
            "spaceDetails",
            "spaceHistoryState",
            "spaceUri",
            "threaded",
            "type",
        ]
    ),
    enums={"spaceType": frozenset({"SPACE", "GROUP_CHAT", "DIRECT_MESSAGE"})},
)
CHAT: Final = RecordContract(
    name="chat.message",
    key_field="name",
    properties={
        "space": object_of(name=TEXT),
        "thread": object_of(name=TEXT),
        "sender": object_of(name=TEXT),
        "text": TEXT,
        "createTime": TEXT,
        "lastUpdateTime": TEXT,
        "deleteTime": TEXT,
        "deletionMetadata": object_of(deletionType=TEXT),
        "attachment": list_of(object_of(name=TEXT, contentName=TEXT, contentType=TEXT)),
        "emojiReactionSummaries": list_of(object_of(emoji=object_of(unicode=TEXT), reactionCount=INTEGER)),
    },
    known_fields=frozenset(
        [
            "accessoryWidgets",
            "actionResponse",
            "annotations",
            "argumentText",
            "attachedGifs",
            "cards",
            "cardsV2",
            "clientAssignedMessageId",
            "elements",
            "fallbackText",
            "formattedText",
            "markupSyntax",
            "matchedUrl",
            "privateMessageViewer",
            "quotedMessageMetadata",
            "silent",
            "slashCommand",
            "threadReply",
        ]
    ),
)

_MEMBER: Final = object_of(name=TEXT, type=TEXT)
MEMBER: Final = RecordContract(
    name="chat.member",
    key_field="name",
    properties={"member": _MEMBER, "groupMember": _MEMBER, "role": TEXT, "state": TEXT, "createTime": TEXT},
    known_fields=frozenset({"affiliation", "deleteTime"}),
    enums={
        "role": frozenset({"ROLE_MEMBER", "ROLE_MANAGER", "ROLE_ASSISTANT_MANAGER"}),
        "state": frozenset({"JOINED", "INVITED", "NOT_A_MEMBER"}),
    },
)
