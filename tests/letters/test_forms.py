"""What one digest becomes besides itself: a light form for providers that take no large letters, and a correction."""

from __future__ import annotations

from datetime import date
from email import message_from_bytes, policy
from pathlib import Path

import pytest
from PIL import Image

from mailer.model.digest import Edition
from mailer.model.language import Language
from mailer.outward import proof
from mailer.outward.compose import Corrected, compose

DAY = date(2026, 11, 20)
KNOWN_AS = {
    Language.EN: Corrected("Meeting on {day} Friday", DAY),
    Language.ZH_HANT: Corrected("週五集會", DAY),
    Language.ZH_HANS: Corrected("周五集会", DAY),
}
LIGHT = {
    Language.EN: "takes no large letters",
    Language.ZH_HANT: "沒有附上圖片",
    Language.ZH_HANS: "没有附上图片",
}


def edition(folder: Path, body: str, language: Language = Language.EN, *, corrects: bool = False) -> Edition:
    path = folder / "issue.md"
    path.write_text(f"---\nsubject: Saturday\nlanguage: {language}\n---\n\n{body}\n", encoding="utf-8")
    return compose(path, corrects=KNOWN_AS if corrects else None)


def parts(payload: bytes) -> dict[str, str]:
    message = message_from_bytes(payload, policy=policy.SMTP)
    return {
        part.get_content_type(): str(part.get_content()) if part.get_content_maintype() == "text" else ""
        for part in message.walk()
        if not part.is_multipart()
    }


@pytest.fixture
def picture(tmp_path: Path) -> str:
    Image.effect_noise((400, 400), 90).convert("RGB").save(tmp_path / "lamp.png")
    return "![A lamp](lamp.png)"


@pytest.mark.parametrize("language", list(Language))
def test_the_light_form_has_words_for_pictures_and_says_why(tmp_path: Path, picture: str, language: Language) -> None:
    made = edition(tmp_path, f"Look:\n\n{picture}\n\nAll of it.", language)
    assert made.light is not None
    light = parts(made.light)
    assert set(light) == {"text/plain", "text/html"}
    for content in light.values():
        assert "A lamp" in content and "All of it." in content and LIGHT[language] in " ".join(content.split())
    assert "cid:" not in light["text/html"] and "<img" not in light["text/html"]
    assert set(parts(made.payload)) == {"text/plain", "text/html", "image/png"} or "image/jpeg" in parts(made.payload)
    assert all(LIGHT[language] not in " ".join(content.split()) for content in parts(made.payload).values())


def test_without_pictures_there_is_no_light_form(tmp_path: Path) -> None:
    assert edition(tmp_path, "Words.").light is None


def test_a_light_form_is_small_enough_where_the_full_one_is_not(tmp_path: Path, picture: str) -> None:
    made = edition(tmp_path, picture)
    assert made.light is not None
    assert proof.largest_copy(made.payload) > 100_000 > proof.largest_copy(made.light)
    assert proof.too_large([made], 100_000) == []
    assert proof.too_large([made], 0) == []
    [found] = proof.too_large([made], 5_000)
    assert (found.language, found.octets) == (Language.EN, proof.largest_copy(made.light))


@pytest.mark.parametrize(
    ("language", "subject", "first_line"),
    [
        (
            Language.EN,
            "Correction: Saturday",
            "This letter corrects our letter “Meeting on {day} Friday” of 2026-11-20.",
        ),
        (Language.ZH_HANT, "更正：Saturday", "這封信更正我們在 2026-11-20 寄出的「週五集會」。"),
        (Language.ZH_HANS, "更正：Saturday", "这封信更正我们在 2026-11-20 发出的“周五集会”。"),
    ],
)
def test_a_correction_says_which_letter_it_puts_right(
    tmp_path: Path, language: Language, subject: str, first_line: str
) -> None:
    made = edition(tmp_path, "It is on Saturday.", language, corrects=True)
    assert made.subject == subject
    title, lead = [line for line in made.text.splitlines() if line.strip()][0:3:2]
    assert title == subject
    assert lead.startswith(first_line[:20])
    assert first_line in " ".join(parts(made.payload)["text/html"].split()).replace("<br>", "")


def test_a_subject_that_says_so_already_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "issue.md"
    path.write_text("---\nsubject: 'Correction: Saturday'\nlanguage: en\n---\n\nIt is on Saturday.\n")
    assert compose(path, corrects=KNOWN_AS).subject == "Correction: Saturday"


def test_a_heading_that_is_the_subject_does_not_stand_there_twice(tmp_path: Path) -> None:
    path = tmp_path / "issue.md"
    path.write_text("---\nlanguage: en\n---\n\n# Saturday\n\nIt is on Saturday.\n")
    made = compose(path, corrects=KNOWN_AS)
    assert made.subject == "Correction: Saturday"
    assert made.text.count("Saturday") == 2
