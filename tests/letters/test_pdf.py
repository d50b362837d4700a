"""PDFs: typeset with everything that a digest has, encrypted so that only the words open them, and telling nothing."""

from __future__ import annotations

import io
import os
import re
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pikepdf
import pytest
from PIL import Image

from mailer.crypto import pdf, words
from mailer.errors import FormUnavailable
from mailer.letters import mime, typeset
from mailer.letters.typeset import child, fonts
from mailer.model.address import Address
from mailer.model.digest import Edition
from mailer.model.language import Language
from mailer.outward.compose import compose
from tests.conftest import needs

WORDS = "cotton violin marble pepper ant"
# Of both scripts, of Hong Kong, beyond the first plane; Latin, Greek, Cyrillic; quotes and dashes.
HAN = "嘅咁啲嚟喺冇佢哋𠝹𠮩𡃁𨋢𠵱㗎㩒堃煊邨亂瞭裏著鏽 这个骨直刃龙龟"
RARE = f"{HAN} Café naïve Ελληνικά Русский “q” ‘q’ – … 「」『』《》·"
PAGE = f"""---
subject: 本週消息：圖書館
language: zh-Hant
---

# 第一節

{RARE}

![一張照片](photo.jpg)

- [連結](https://example.org/a?b=c&d=e)
- 一二三 `code <b>`

> 引用。 style="x" a > b

| 甲 | 乙 |
|---|--:|
| 1 | 2 |

Emoji: 🧡 and a joined one: 👩‍👩‍👧.
"""


def edition(folder: Path) -> Edition:
    Image.effect_noise((640, 480), 60).convert("RGB").save(folder / "photo.jpg")
    source = folder / "issue.md"
    source.write_text(PAGE, encoding="utf-8")
    return compose(source, list_name="News", list_address=Address.parse("news@lists.example"))


@pytest.fixture(scope="module")
def digest(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An edition, typeset."""
    needs("pdftotext")
    return typeset.typeset_edition(edition(tmp_path_factory.mktemp("digest")))


@cache
def letter() -> bytes:
    needs("pdftotext")
    return typeset.typeset_letter("Hello", "A letter.\n\n  help   what there is\n", Language.EN)


def sealed(blob: bytes, passphrase: str = WORDS, padded: Callable[[int], int] = mime.padme) -> bytes:
    return pdf.encrypt(blob, passphrase, padded)


def poppler(program: str, blob: bytes, folder: Path, *options: str) -> subprocess.CompletedProcess[bytes]:
    path = folder / "file.pdf"
    path.write_bytes(blob)
    command = [needs(program), *options, str(path), *(["-"] if program == "pdftotext" else [])]
    return subprocess.run(command, capture_output=True, check=False)


def text_in(blob: bytes, folder: Path, *options: str) -> str:
    ran = poppler("pdftotext", blob, folder, "-enc", "UTF-8", *options)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.decode()


def squeezed(text: str) -> str:
    return re.sub(r"\s", "", text)


# --- Typeset --------------------------------------------------------------------------------------------------------


def test_every_character_of_a_digest_is_shown(digest: bytes, tmp_path: Path) -> None:
    text = squeezed(text_in(digest, tmp_path))
    for line in ("本週消息：圖書館", "第一節", RARE, "連結", "code <b>", 'style="x" a > b', "news+help@lists.example"):
        assert squeezed(line) in text


def test_what_no_font_has_is_spelt_out(digest: bytes, tmp_path: Path) -> None:
    assert fonts.spelt_out("字 A \u200d\ufe0f \U000e0001") == "字 A \u200d\ufe0f \U000e0001"
    assert fonts.spelt_out("\U0003fffd") == "[U+3FFFD]"
    text = squeezed(text_in(digest, tmp_path))
    assert "[orangeheart]" in text or "🧡" in text


def test_all_fonts_are_embedded_and_cut_down_to_what_is_shown(digest: bytes, tmp_path: Path) -> None:
    lines = poppler("pdffonts", digest, tmp_path).stdout.decode().splitlines()[2:]
    assert any("Noto-Sans-CJK-TC" in line for line in lines)
    assert all(re.search(r"\byes yes yes\b", line) for line in lines), lines


def test_each_script_has_its_own_forms_of_the_characters() -> None:
    both = [typeset.typeset_letter("骨", "骨直刃", language) for language in (Language.ZH_HANT, Language.ZH_HANS)]
    assert [b"CJK-TC" in names(blob) for blob in both] == [True, False]
    assert [b"CJK-SC" in names(blob) for blob in both] == [False, True]


def names(blob: bytes) -> bytes:
    with pikepdf.open(io.BytesIO(blob)) as document:
        fonts_used = [font for font in document.objects if isinstance(font, pikepdf.Dictionary) and "/BaseFont" in font]
        return b" ".join(str(font.BaseFont).encode() for font in fonts_used)


def test_pictures_and_links_are_there(digest: bytes, tmp_path: Path) -> None:
    assert " 640   480 " in poppler("pdfimages", digest, tmp_path, "-list").stdout.decode()
    with pikepdf.open(io.BytesIO(digest)) as document:
        links = {str(one.A.URI) for page in document.pages for one in page.get("/Annots", []) if "/A" in one}
    assert {"https://example.org/a?b=c&d=e", "mailto:news+unsubscribe@lists.example"} <= links


def test_a_page_has_the_shape_of_a_telephone_and_large_type(digest: bytes) -> None:
    with pikepdf.open(io.BytesIO(digest)) as document:
        width, height = (float(side) for side in document.pages[0].mediabox[2:])
    assert 240 < width < 300 and 1.6 < height / width < 2


def test_nothing_says_who_made_it_with_what_and_when(digest: bytes) -> None:
    with pikepdf.open(io.BytesIO(digest)) as document:
        assert "/Info" not in document.trailer and "/Metadata" not in document.Root
        streams = [
            one for one in document.objects if isinstance(one, pikepdf.Stream) and one.get("/Subtype") != "/Image"
        ]
        everything = b"".join(one.read_bytes() for one in streams)
    assert not re.search(rb"(?i)weasyprint|pydyf|qpdf|D:20[0-9]{2}", digest + everything)


def test_what_a_page_does_not_bring_along_is_not_fetched(tmp_path: Path) -> None:
    needs("pdftotext")
    (tmp_path / "planted.txt").write_text("planted")
    planted = (tmp_path / "planted.txt").as_uri()
    for address in (planted, "https://127.0.0.1:9/a.png", "http://127.0.0.1:9/a.css"):
        html = f'<html><link rel="stylesheet" href="{address}"><img src="{address}"><p>text</p></html>'
        made = child.typeset(html, f'@import "{address}"; p::after {{ content: url("{address}") }}', {})
        assert "text" in text_in(made, tmp_path) and "planted" not in text_in(made, tmp_path)


def test_typesetting_that_takes_too_much_ends_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(typeset, "MEMORY_OCTETS", 32 * 1024**2)
    with pytest.raises(FormUnavailable, match="PDF"):
        typeset.typeset_letter("Hello", "A letter.", Language.EN)
    monkeypatch.setattr(typeset, "MEMORY_OCTETS", 2 * 1024**3)
    monkeypatch.setattr(typeset, "TIME_S", 0.01)
    with pytest.raises(FormUnavailable, match="too long"):
        typeset.typeset_letter("Hello", "A letter.", Language.EN)


def test_what_a_machine_lacks_is_named_by_its_debian_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fonts._LIBRARIES, "libnowhere.so.0", "libnowhere0")
    assert typeset.missing() == ["libnowhere0"]
    monkeypatch.delitem(fonts._LIBRARIES, "libnowhere.so.0")
    monkeypatch.setattr(fonts, "_FAMILIES", ("No Such Font",))
    assert typeset.missing() == ["fonts-noto-cjk"]


def test_this_machine_lacks_nothing() -> None:
    needs("pdftotext")
    assert typeset.missing() == []


# --- Encrypted ------------------------------------------------------------------------------------------------------


def test_only_the_words_open_it(digest: bytes, tmp_path: Path) -> None:
    copy = sealed(digest)
    assert text_in(copy, tmp_path, "-upw", WORDS) == text_in(digest, tmp_path)
    for wrong in ([], ["-upw", "x"], ["-upw", WORDS.upper()], ["-opw", ""], ["-upw", WORDS.replace(" ", "")]):
        ran = poppler("pdftotext", copy, tmp_path, *wrong)
        assert ran.returncode == 1 and b"Incorrect password" in ran.stderr and ran.stdout == b""
    for wrong_words in ("", "x"):
        with pytest.raises(pikepdf.PasswordError):
            pikepdf.open(io.BytesIO(copy), password=wrong_words)


def test_the_longest_passphrase_that_is_drawn_opens_in_poppler(tmp_path: Path) -> None:
    drawn = max((words.new_passphrase(os.urandom) for _ in range(200)), key=len)
    assert "A letter." in text_in(sealed(letter(), drawn), tmp_path, "-upw", drawn)


def test_it_is_aes_256_of_revision_6_and_forbids_nothing() -> None:
    with pikepdf.open(io.BytesIO(sealed(letter())), password=WORDS) as document:
        assert (document.encryption.R, document.encryption.V, document.encryption.bits) == (6, 5, 256)
        methods = (document.encryption.stream_method, document.encryption.string_method)
        assert [str(method).rpartition(".")[2] for method in methods] == ["aesv3", "aesv3"]
        assert all(document.allow)


def test_pictures_fonts_and_links_survive(digest: bytes, tmp_path: Path) -> None:
    copy = sealed(digest)
    for program in ("pdfimages", "pdffonts"):
        options = ["-list"] if program == "pdfimages" else []
        rows = [poppler(program, blob, tmp_path, *options, "-upw", WORDS).stdout for blob in (digest, copy)]
        shown = [[line.split()[:6] for line in row.decode().splitlines()] for row in rows]
        assert shown[0] == shown[1] and len(shown[0]) > 2


def test_outside_the_encryption_stands_neither_language_nor_font_nor_link_nor_page(digest: bytes) -> None:
    copy = sealed(digest)
    # no word is shorter than five letters: three of them stand by chance in one of ten files of noise
    assert not re.search(rb"(?i)noto.sans|zh-han|/Type /Page|/Kids|/Annot|/Title \(|lists\.example|example\.org", copy)
    assert b"/URI (" not in copy and b"/MediaBox" not in copy and b"/BaseFont" not in copy
    with pikepdf.open(io.BytesIO(digest)) as document:  # the search finds what is there when nothing is encrypted
        document.save(plain := io.BytesIO(), object_stream_mode=pikepdf.ObjectStreamMode.disable)
    assert re.search(rb"(?i)noto.sans", plain.getvalue()) and b"/Kids" in plain.getvalue()


def test_two_copies_share_neither_octets_nor_id_nor_the_lengths_of_their_streams(digest: bytes) -> None:
    copies = [sealed(digest) for _ in range(2)]
    ids = [re.findall(rb"/ID \[<(\w+)><(\w+)>\]", copy) for copy in copies]
    assert len({one for found in ids for pair in found for one in pair}) == 4
    lengths = [sorted(map(int, re.findall(rb"/Length (\d+) >>", copy))) for copy in copies]
    assert lengths[0] != lengths[1]
    chunks = [{copy[at : at + 32] for at in range(2048, len(copy) - 2048, 32)} for copy in copies]
    assert not [chunk for chunk in chunks[0] & chunks[1] if not chunk.isascii()]  # what is ASCII is PDF's own syntax


def test_the_length_is_the_one_asked_for_whatever_chance_does(digest: bytes) -> None:
    for blob in (digest, letter()):
        for _ in range(12):
            copy = sealed(blob, padded=lambda least: -(-least // 4096) * 4096)
            assert len(copy) % 4096 == 0
            assert b"%%EOF" in copy[-1000:]


def test_an_empty_or_overlong_passphrase_is_refused() -> None:
    for nothing in ("", "   ", "x" * 128):
        with pytest.raises(ValueError, match="passphrase"):
            sealed(letter(), nothing)


def test_a_file_that_came_out_in_clear_is_not_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """As qpdf does, without a word, where it is told to write a version that knows no such encryption."""
    save = pikepdf.Pdf.save

    def in_clear(document: pikepdf.Pdf, target: io.BytesIO, **options: object) -> None:
        version = {"force_version": "1.7"} if options.pop("min_version", None) else {}
        save(document, target, **version, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(pikepdf.Pdf, "save", in_clear)
    pdf._prepare.cache_clear()
    with pytest.raises(FormUnavailable, match="encrypted"):
        sealed(letter())
    pdf._prepare.cache_clear()


def test_what_is_no_pdf_is_one_sentence() -> None:
    with pytest.raises(FormUnavailable):
        sealed(b"not a PDF")
    with pytest.raises(FormUnavailable):
        pdf.without_traces(b"not a PDF")
