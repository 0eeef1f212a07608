"""What people write: small talk, promises and requests, in English and Arabic, as plain text and as HTML."""

from __future__ import annotations

import html
from typing import Final

from ao_pipeline.sandbox.world.draw import Draw

TALK: Final = (
    "Thanks for the quick call earlier.",
    "The numbers look better than last month.",
    "Nice work on the second round, the team liked it.",
    "Attached is the latest version for reference.",
    "The venue has changed the loading times again.",
    "We are happy with the direction overall 👍",
    "شكرا على المتابعة السريعة.",
    "الفريق معجب بالتصميم الأخير.",
)
PROMISES: Final = (
    "I will send the deck by Thursday.",
    "I'll get you the revised budget by tomorrow.",
    "We will deliver the final film by end of week.",
    "Let me check the print dates and come back to you by Monday.",
    "I'm working on the media plan and will share it before Wednesday.",
    "سأرسل العرض النهائي يوم الخميس.",
    "سوف نرسل الفاتورة المعدلة غدا.",
)
REQUESTS: Final = (
    "Could you please confirm the shoot date?",
    "Can you send the signed contract by EOD?",
    "Please approve the key visual before Tuesday.",
    "I need you to review the Arabic copy within 2 days.",
    "When can you share the campaign report?",
    "هل يمكنكم تأكيد موعد التصوير؟",
    "الرجاء اعتماد الميزانية قبل يوم الأحد.",
)
SUBJECTS: Final = (
    "Campaign timeline",
    "Invoice query",
    "Shoot day logistics",
    "Feedback on round 2",
    "Contract renewal",
    "Media plan Q4",
    "تحديث المشروع",
    "Launch event 🎉",
    "Quotation request",
    "Weekly status",
    "Brand guidelines",
    "عرض سعر",
)


def write_sentences(draw: Draw) -> list[str]:
    """Return two to five sentences; four in ten mails hold a promise or a request."""
    sentences = [draw.pick(TALK) for _ in range(draw.between(2, 4))]
    if draw.chance(0.4):
        sentences.insert(1, draw.pick(PROMISES if draw.chance(0.5) else REQUESTS))
    return sentences


def plain_text(sentences: list[str], signature: str) -> str:
    """Return the mail as plain text with a signature."""
    return "Hello,\r\n\r\n" + "\r\n".join(sentences) + f"\r\n\r\n--\r\n{signature}\r\n"


def html_text(sentences: list[str], signature: str) -> str:
    """Return the mail as HTML, with the style block and the entities that readers stumble over."""
    body = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in sentences)
    return (
        '<html><head><style>p{margin:0}</style></head><body dir="auto"><p>Hello&nbsp;&mdash;</p>'
        f'{body}<br><div class="signature">{html.escape(signature)}</div></body></html>'
    )
