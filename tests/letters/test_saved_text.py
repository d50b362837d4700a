"""Pages saved from a website, and text written without Markdown: what is a heading, a list, a paragraph; encodings."""

from __future__ import annotations

import codecs
import re
from html import unescape
from pathlib import Path

import pytest

from mailer.errors import DigestUnusable
from mailer.model.language import Language
from mailer.outward.compose import compose, lay_out, proofread
from mailer.outward.manuscript import decoding

DIGESTS = Path(__file__).parent / "digests"
HANT = "國際團結，反對威權統治\n\n我們需要你的支持。請把這封信轉給你信任的人，並在星期六到碼頭來。"
HANS = "国际团结，反对威权统治\n\n我们需要你的支持。请把这封信转给你信任的人，并在星期六到码头来。"


def write(folder: Path, content: str | bytes, name: str = "page.en.txt") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def words_of(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html.split("<body", 1)[1])).split())


def headings_of(html: str) -> list[str]:
    return [unescape(found) for found in re.findall(r"<h[1-6][^>]*>(.*?)</h", html)]


def items_of(html: str) -> list[str]:
    return [unescape(found) for found in re.findall(r"<li[^>]*>(.*?)</li>", html, re.DOTALL)]


def test_a_saved_page_has_its_title_headings_and_bullets() -> None:
    sheet = lay_out(DIGESTS / "page.en.txt")
    assert sheet.subject == "Solidarity with the harbour workers"
    assert headings_of(sheet.html) == [
        "Solidarity with the harbour workers",
        "Terminal 4: Down with the night shift!",
        "What drivers fight for",
        "Join the struggle!",
    ]
    assert len(items_of(sheet.html)) == 5
    assert sheet.text.count("\n• ") == 5
    assert "➵" not in sheet.html + sheet.text


def _assert_whole(path: Path, language: Language) -> None:
    sheet = lay_out(path, language=language)
    page, text = words_of(sheet.html), " ".join(sheet.text.split())
    for line in path.read_text(encoding="utf-8").splitlines():
        for sentence in re.split(r"(?<=[.!?]) ", " ".join(line.split()).lstrip("➵• ")):
            assert sentence in page
            assert sentence in text


def test_every_sentence_of_a_saved_page_is_in_the_page_and_in_the_text() -> None:
    _assert_whole(DIGESTS / "page.en.txt", Language.EN)


def test_odd_spaces_of_a_saved_page_become_single_ones() -> None:
    sheet = lay_out(DIGESTS / "page.en.txt")
    assert not re.search("[\u00a0\u2002-\u200b\u3000]", sheet.html + sheet.text)
    assert "the berths staying busy" in sheet.html
    assert "[email protected]" in sheet.text


def test_proofreading_finds_what_saving_the_page_lost() -> None:
    remarks = " ".join(proofread(DIGESTS / "page.en.txt"))
    assert "an e-mail address got lost" in remarks
    assert "a link seems to have got lost" in remarks
    assert "a button of the website" in remarks


def test_the_campaign_page_becomes_a_digest(corpora: Path) -> None:
    path = corpora.parent / "samples" / "campaign-page.txt"
    if not path.is_file():
        pytest.skip("no campaign page beside this checkout")
    sheet = lay_out(path, language=Language.EN)
    assert headings_of(sheet.html) == [
        "International solidarity against authoritarian rule in Hong Kong",
        "Hong Kong: Down with authoritarianism!",
        "What socialists fight for",
        "Join the struggle!",
    ]
    assert len(items_of(sheet.html)) == 5
    assert sheet.html.count("<p ") == 16
    assert max(map(len, sheet.text.splitlines())) <= 72
    _assert_whole(path, Language.EN)


def test_a_chinese_page_has_its_paragraphs_lists_and_headings() -> None:
    sheet = lay_out(DIGESTS / "page.zh-Hans.txt")
    assert headings_of(sheet.html) == ["码头工人罢工进入第三周", "我们的要求", "怎样支持我们"]
    assert items_of(sheet.html)[:3] == ["补发罢工期间的工资", "取消强制夜班", "承认工人自己选出的委员会"]
    assert "\n1. 把这封信转给你信任的人\n2. " in sheet.text
    assert "\u3000" not in sheet.text
    assert "<ol" in sheet.html


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # hard line ends are joined, those of an address are kept
        (
            "The strike at Terminal 4 has entered its third week, and nobody\nknows when it will end.",
            "The strike at Terminal 4 has entered its third week, and nobody knows when\nit will end.",
        ),
        ("Strike office\n12 Quay Street\nHarbour", "Strike office\n12 Quay Street\nHarbour"),
        # a menu has no headings; neither have closing words
        ("Home\n\nNews\n\nAbout\n\nContact", "Home\n\nNews\n\nAbout\n\nContact"),
        ("We go on.\n\nYours\n\nThe committee", "We go on.\n\nYours\n\nThe committee"),
        # an attribution is no list
        ("“We hold out.”\n\n— A driver", "“We hold out.”\n\n— A driver"),
        ("- one\n- two\n  and more", "• one\n• two and more"),
        ("1. one\n2. two", "1. one\n2. two"),
        ("1848. A year.", "1848. A year."),
        ("3) Only this.", "3. Only this."),
        ("Demands\n=======\n\nText.", "Demands\n-------\n\nText."),
        ("One.\n\n* * *\n\nTwo.", "One.\n\n* * *\n\nTwo."),
        ("> quoted\n> more", "> quoted\n> more"),
        ("► one\n► two", "• one\n• two"),
        ("➵ Call us now.", "Call us now."),
        ("By Anna Lee\n\nThe strike goes on.", "By Anna Lee\n\nThe strike goes on."),
        ("3 March 2024\n\nThe strike goes on.", "3 March 2024\n\nThe strike goes on."),
        ("Skip to content\n\nThe strike goes on.", "The strike goes on."),
        ("<b> & [x] *y* # z", "<b> & [x] *y* # z"),
    ],
)
def test_text_without_markup_is_read_as_it_was_meant(tmp_path: Path, text: str, expected: str) -> None:
    sheet = lay_out(write(tmp_path, f"Title of it\n\n{text}"))
    assert " ".join(sheet.text.split("===========\n\n", 1)[1].split()) == " ".join(expected.split())
    assert ("\n" in expected) == ("\n" in sheet.text.split("===========\n\n", 1)[1].rstrip("\n"))


def test_front_matter_before_plain_text_keeps_its_first_line_in_the_letter(tmp_path: Path) -> None:
    sheet = lay_out(write(tmp_path, "---\nsubject: S\n---\nFirst line\n\nA sentence."))
    assert sheet.subject == "S"
    assert headings_of(sheet.html) == ["S", "First line"]


def test_a_paragraph_where_the_title_should_be_is_refused(tmp_path: Path) -> None:
    for text in ("word " * 60, "A paragraph that goes on for more than one line of the text and\nso is no title."):
        with pytest.raises(DigestUnusable, match="no subject"):
            compose(write(tmp_path, text))


def test_markdown_in_a_text_file_is_markdown(tmp_path: Path) -> None:
    html = lay_out(write(tmp_path, "# Title\n\nSee [this](https://a.example).")).html
    assert 'href="https://a.example"' in html


def test_a_markdown_file_without_any_markdown_is_read_like_a_saved_page(tmp_path: Path) -> None:
    html = lay_out(write(tmp_path, "---\nsubject: S\n---\nDemands\n\n• one\n• two\n\nThat is all.", "a.en.md")).html
    assert items_of(html) == ["one", "two"]


def test_a_saved_html_page_gives_its_article_and_leaves_out_menus_scripts_and_pictures(tmp_path: Path) -> None:
    page = (
        "<!doctype html><html><head><title>Strike &amp; more</title><style>x</style></head><body>"
        "<nav><a href='/'>Menu</a></nav><article><h2>Demands</h2><p>Full <a href='/pay'>pay</a>, see "
        "<a href='https://a.example'>this</a>.</p><img src='https://b.example/x.gif' alt='The quay'>"
        "<script>planted()</script></article><footer>Cookies</footer></body></html>"
    )
    sheet = lay_out(write(tmp_path, page, "page.en.html"))
    assert sheet.subject == "Strike & more"
    assert "Full pay, see this [1]." in sheet.text
    assert "[The quay]" in sheet.text
    assert not re.search(r"Menu|Cookies|planted|b\.example|/pay", sheet.html)


def test_a_saved_html_page_without_title_or_article_is_taken_whole(tmp_path: Path) -> None:
    page = (
        "<html><body><main>Ad</main>Loose <b>bold</b> words<h1>Strike won</h1><p>The whole of the long story, "
        "told by those who were there.</p></body></html>"
    )
    sheet = lay_out(write(tmp_path, page, "page.en.html"))
    assert sheet.subject == "Strike won"
    assert "Loose *bold* words" in sheet.text
    assert "told by those" in sheet.text


def test_long_lines_without_blank_lines_between_are_paragraphs(tmp_path: Path) -> None:
    line = "This is a sentence of a saved page, and it is so long that nobody would have broken the line here. " * 2
    assert lay_out(write(tmp_path, f"Title\n{line}\n{line}\nShort last line.")).html.count("<p ") == 3


# --- Encodings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (HANT, "big5"),
        (HANT, "big5hkscs"),
        (HANT, "cp950"),
        (HANT, "gb18030"),
        (HANS, "gb2312"),
        (HANS, "gb18030"),
        (HANT, "utf-8-sig"),
        (HANT, "utf-16"),
        (HANS, "utf-32"),
        ("Don’t stop – the “struggle” goes on…", "cp1252"),
        ("Grüße aus dem Hafen", "latin-1"),
    ],
)
def test_text_in_an_encoding_beyond_doubt_is_read(text: str, encoding: str) -> None:
    assert decoding.decode(text.encode(encoding)) == text


def test_line_ends_of_every_system_become_one() -> None:
    assert decoding.decode(b"a\r\nb\rc\nd\xe2\x80\xa8e") == "a\nb\nc\nd\ne"


def test_invisible_junk_and_icons_of_private_fonts_are_dropped() -> None:
    assert decoding.decode("a\u200bb\u00adc\u202ed\ufeffe\ue001f".encode()) == "abcdef"


@pytest.mark.parametrize(
    "blob",
    [
        "これは日本語の文章です。今日は天気がいい。".encode("shift_jis"),
        "これは日本語の文章です。今日は天気がいい。".encode("euc_jp"),
        "Привет, товарищи! Сегодня забастовка.".encode("cp1251"),
        "한국어 텍스트입니다. 오늘은 날씨가 좋습니다.".encode("euc_kr"),
        codecs.BOM_UTF16_LE + b"a",
        bytes(range(128, 256)),
    ],
)
def test_an_encoding_in_doubt_is_refused_and_says_what_to_do(tmp_path: Path, blob: bytes) -> None:
    with pytest.raises(DigestUnusable, match=r"page\.en\.txt.*save it as UTF-8"):
        compose(write(tmp_path, blob))


def test_damaged_big5_is_refused_with_its_name_and_line(tmp_path: Path) -> None:
    blob = HANT.encode("big5") + b"\n\xff\xff\n"
    with pytest.raises(DigestUnusable, match=r"line 4: .*looks like Big5"):
        compose(write(tmp_path, blob, "page.zh-Hant.txt"))


def test_an_encoding_that_a_page_names_wrongly_is_not_believed(tmp_path: Path) -> None:
    page = f"<html><head><meta charset=gb2312><title>標題</title></head><body><p>{HANT}</p></body></html>"
    assert lay_out(write(tmp_path, page.encode("big5"), "a.zh-Hant.html")).subject == "標題"


def test_an_encoding_that_does_not_fit_or_does_not_exist_is_passed_over() -> None:
    assert decoding.decode(HANS.encode("gb18030"), "euc_jp") == HANS
    assert decoding.decode(HANS.encode("gb18030"), "no-such-code") == HANS


def test_real_chinese_pages_are_read_in_their_encoding(corpora: Path) -> None:
    folder = corpora / "zh-feeds-and-pages" / "chardet"
    for path in sorted(folder.glob("Big5/*")) + sorted(folder.glob("GB2312/*")):
        text = decoding.decode(path.read_bytes())
        assert decoding._score(text) > 0.3
