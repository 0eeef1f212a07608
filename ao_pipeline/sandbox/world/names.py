"""Invented names. Nobody and nothing here is real; every domain ends in `.example`."""

from __future__ import annotations

from typing import Final

GIVEN: Final = (
    "Amal", "Bashir", "Carmela", "Dalia", "Emre", "Farida", "Goran", "Hanin", "Idris", "Jumana", "Kofi", "Layan",
    "Marwan", "Nadine", "Osman", "Priya", "Qasim", "Rania", "Samir", "Tala", "Umar", "Vera", "Wassim", "Ximena",
    "Yara", "Ziad", "Anouk", "Bilal", "Celine", "Dino", "Elham", "Faisal",
)  # fmt: skip
FAMILY: Final = (
    "Ashgrove", "Barakzai", "Corvino", "Darwazeh", "Elmaraghi", "Fontaneda", "Galadari-Moss", "Haddadin", "Ibrahimov",
    "Jalloul", "Kestrelli", "Lamprou", "Mansoori-Lee", "Nasrallahi", "Okonjo", "Pereirinha", "Qubaisi", "Rahmanian",
    "Sabbaghi", "Tannouri", "Usmanov", "Varghesian", "Wadsworth", "Yazbeki", "Zamanian",
)  # fmt: skip
CLIENT_FIRST: Final = (
    "Falcon", "Oryx", "Palm", "Saffron", "Dune", "Pearl", "Lantern", "Cedar", "Harbour", "Copper", "Mirage", "Juniper",
    "Coral", "Zenith", "Amber", "Marlin", "Indigo", "Atlas", "Opal", "Quartz", "Cobalt", "Willow", "Ember", "Solstice",
    "Gazelle", "Monsoon", "Velvet", "Drift", "Noor", "Sidra",
)  # fmt: skip
CLIENT_SECOND: Final = (
    "Foods", "Airways", "Hotels", "Realty", "Motors", "Bank", "Clinics", "Telecom", "Beverages", "Logistics", "Academy",
    "Retail", "Energy", "Insurance", "Cosmetics", "Sports", "Gaming", "Furniture", "Jewellery", "Events", "Capital",
    "Pharma", "Studios", "Farms", "Marine", "Systems", "Books",
)  # fmt: skip
COMPANY_SUFFIXES: Final = ("LLC", "FZE", "Holding", "Group", "DMCC")
PROJECT_SUBJECTS: Final = (
    "Monthly Retainer", "Ramadan Campaign", "Brand Refresh", "Website Relaunch", "Product Film", "Social Calendar",
    "Launch Event", "Packaging", "Always-on Media", "Annual Report", "Influencer Activation", "حملة العيد", "Store Opening",
    "App Onboarding", "Photography Days", "Podcast",
)  # fmt: skip
INTERNAL_SUBJECTS: Final = (
    "Hiring", "Finance Ops", "New Business", "Compliance", "Studio Upkeep", "Training", "Invoice Tracker", "Town Hall",
)  # fmt: skip
TASK_VERBS: Final = (
    "Draft", "Review", "Send", "Prepare", "Update", "Shoot", "Edit", "Translate", "Present", "Publish", "Brief", "Approve",
)  # fmt: skip
TASK_OBJECTS: Final = (
    "storyboard", "media plan", "moodboard", "pitch deck", "budget", "invoice", "landing page", "copy deck", "key visual",
    "press release", "contract review", "shot list", "weekly report", "interview questions", "onboarding checklist",
    "proposal", "social posts", "subtitles", "expense claims", "audit file", "event run sheet", "brand guidelines",
)  # fmt: skip
TASK_TAILS: Final = (
    "", "", "", " v2", " (AR/EN)", " – round 3", " 🎬", " for approval", " ASAP", " – القائمة النهائية", " 🔥", " / Q4",
)  # fmt: skip
ARABIC_TASKS: Final = (
    "مراجعة النص العربي", "إرسال العرض للعميل", "تحديث خطة المحتوى", "تجهيز ملف الفاتورة", "اعتماد التصميم النهائي",
)  # fmt: skip
VENDORS: Final = (
    "printworks", "skyrental", "voicehouse", "courierly", "stockpix", "hostgrid", "cateringco", "newsbeat", "softseats",
)  # fmt: skip
SPACES: Final = (
    "Studio floor", "Account leads", "Finance & invoices", "عروض جديدة", "Launch room 🚀", "Design critique", "Production",
    "New business", "Random", "Archive (empty)",
)  # fmt: skip
