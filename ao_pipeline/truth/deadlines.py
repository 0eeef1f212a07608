"""When something was promised for: words and dates in a sentence, counted from the day on which it was said."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Final

from ao_pipeline.truth.workweek import WorkWeek

MAX_AHEAD_DAYS: Final = 366
"""A deadline further away is a misread number, not a promise."""

_WEEKDAYS: Final = {
    **{name: n for n, names in enumerate(("monday mon", "tuesday tue tues", "wednesday wed", "thursday thu thurs",
                                          "friday fri", "saturday sat", "sunday sun")) for name in names.split()},
    "الاثنين": 0, "الإثنين": 0, "الثلاثاء": 1, "الأربعاء": 2, "الخميس": 3, "الجمعة": 4, "السبت": 5, "الأحد": 6,
}  # fmt: skip
_MONTHS: Final = {
    name: number
    for number, names in enumerate(
        ("jan january", "feb february", "mar march", "apr april", "may", "jun june", "jul july", "aug august",
         "sep sept september", "oct october", "nov november", "dec december"), start=1)
    for name in names.split()
}  # fmt: skip
_NUMBERS: Final = {
    "a": 1,
    "an": 1,
    "one": 1,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "ten": 10,
}

_PREPOSITION: Final = r"by|before|until|till|on|no later than|not later than|due|قبل|بحلول|يوم"
_BY: Final = rf"(?:{_PREPOSITION})\s+(?:the\s+|يوم\s+)?"
_BY_OR_FOR: Final = rf"(?:{_PREPOSITION}|for|this|next)\s+(?:end of\s+|next\s+|this\s+|يوم\s+)?"
_MONTH: Final = "|".join(sorted(_MONTHS, key=len, reverse=True))
_DAY_NAME: Final = "|".join(sorted(map(re.escape, _WEEKDAYS), key=len, reverse=True))

_ISO: Final = re.compile(r"\b(\d{4})-(\d{2})-(\d{2})\b")
_NUMERIC: Final = re.compile(rf"\b{_BY}(\d{{1,2}})[/.](\d{{1,2}})(?:[/.](\d{{4}}|\d{{2}}))?(?![\d%])")
_DAY_MONTH: Final = re.compile(rf"\b(\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?({_MONTH})\b\.?(?:,?\s+(\d{{4}}))?")
_MONTH_DAY: Final = re.compile(rf"\b({_MONTH})\.?\s+(\d{{1,2}})(?:st|nd|rd|th)?\b(?!:)(?:,?\s+(\d{{4}}))?")
_WEEKDAY: Final = re.compile(rf"(?<!\w){_BY_OR_FOR}({_DAY_NAME})(?!\w)")
_WITHIN: Final = re.compile(
    r"\b(?:within|in)\s+(?:the next\s+)?(\d{1,3}|a|an|one|two|three|four|five|six|seven|ten)\s+(?:\w+\s+)?(hour|day|week)s?\b"
)
_END_OF_WEEK: Final = re.compile(r"\b(?:end of (?:the |this )?week|eow|this week)\b|نهاية الأسبوع")
_NEXT_WEEK: Final = re.compile(r"\bnext week\b|الأسبوع (?:القادم|المقبل)")
_TOMORROW: Final = re.compile(r"\btomorrow\b|(?<!\w)(?:غدا|غداً|بكرة)(?!\w)")
_TODAY: Final = re.compile(
    r"\b(?:today|tonight|this (?:morning|afternoon|evening)|eod|cob|end of (?:the )?day|close of business|asap|"
    r"as soon as possible|right away|urgent(?:ly)?)\b|(?<!\w)اليوم(?!\w)"
)


def find_deadline(sentence: str, *, said_on: date, week: WorkWeek) -> date | None:
    """Return the day that a sentence names, or None.

    Exact dates win over words, nearer words over vague ones. `3/12` is the third of December: the day comes first, as
    people write it where the agency works. A date without a year is the next such day, unless it has just passed.

    Args:
        sentence: One sentence, any case.
        said_on: The org-local day of the mail, never the day of processing.
        week: Tells where a week ends and the next one begins.
    """
    text = sentence.casefold()
    found = _exact(text, said_on)
    if found is None:
        found = _relative(text, said_on, week)
    if found is None or not 0 <= (found - said_on).days <= MAX_AHEAD_DAYS:
        return None
    return found


def _exact(text: str, said_on: date) -> date | None:
    if match := _ISO.search(text):
        return _date(int(match[1]), int(match[2]), int(match[3]))
    if match := _NUMERIC.search(text):
        return _dated(match[3], int(match[2]), int(match[1]), said_on)
    if match := _DAY_MONTH.search(text):
        return _dated(match[3], _MONTHS[match[2]], int(match[1]), said_on)
    if match := _MONTH_DAY.search(text):
        return _dated(match[3], _MONTHS[match[1]], int(match[2]), said_on)
    return None


def _relative(text: str, said_on: date, week: WorkWeek) -> date | None:
    if match := _WEEKDAY.search(text):
        # "On Monday", said on a Monday, is the one a week later.
        return said_on + timedelta(days=(_WEEKDAYS[match[1]] - said_on.weekday() - 1) % 7 + 1)
    if _TOMORROW.search(text):
        return said_on + timedelta(days=1)
    if match := _WITHIN.search(text):
        count = _NUMBERS.get(match[1]) or int(match[1])
        days = {"hour": count // 24, "day": count, "week": 7 * count}[match[2]]
        return said_on + timedelta(days=days)
    if _NEXT_WEEK.search(text):
        return week.first_of_next_week(said_on)
    if _END_OF_WEEK.search(text):
        return week.last_of_week(said_on)
    if _TODAY.search(text):
        return said_on
    return None


def _date(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:
        return None


def _dated(year: str | None, month: int, day: int, said_on: date) -> date | None:
    if year is not None:
        return _date(int(year) + (2000 if len(year) == 2 else 0), month, day)
    this_year = _date(said_on.year, month, day)
    if this_year is not None and this_year >= said_on - timedelta(days=31):
        return this_year
    return _date(said_on.year + 1, month, day)
