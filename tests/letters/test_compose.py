"""From an organiser's Markdown to an edition: front matter, Markdown, sanitising, payload."""

from __future__ import annotations

import email
import re
from email.message import Message
from pathlib import Path

import pytest
from PIL import Image

from mailer.errors import DigestUnusable
from mailer.model.address import Address
from mailer.model.language import Language
from mailer.outward import compose as composing
from mailer.outward.compose import compose, lay_out, proofread

DIGESTS = Path(__file__).parent / "digests"


def write(folder: Path, body: str, name: str = "issue.en.md", subject: str | None = "A subject") -> Path:
    path = folder / name
    head = "" if subject is None else f"---\nsubject: {subject}\n---\n"
    path.write_text(head + body, encoding="utf-8")
    return path


def html_of(folder: Path, body: str) -> str:
    return lay_out(write(folder, body)).html


def text_of(folder: Path, body: str, name: str = "issue.en.md") -> str:
    return lay_out(write(folder, body, name)).text


def parts_of(payload: bytes) -> list[Message]:
    return list(email.message_from_bytes(payload).walk())


# --- Front matter ---------------------------------------------------------------------------------------------------


def test_the_three_spellings_of_front_matter_say_the_same(tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "quay.jpg")
    for name in ("issue.en.md", "issue.zh-Hant.md", "issue.zh-Hans.md"):
        (tmp_path / name).write_bytes((DIGESTS / name).read_bytes())
    editions = [compose(tmp_path / name) for name in ("issue.en.md", "issue.zh-Hant.md", "issue.zh-Hans.md")]
    assert [edition.language for edition in editions] == [Language.EN, Language.ZH_HANT, Language.ZH_HANS]
    assert editions[1].subject == "碼頭工人討回罷工日薪"
    assert editions[2].subject == "码头工人讨回罢工日薪"


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        ("---\nsubject: A\ncolour: red\n---\nText", 3, "colour"),
        ("---\nsubject: A\nsubject: B\n---\nText", 3, "twice"),
        ("---\nsubject A\n---\nText", 2, "name: value"),
        ("---\nsubject:\n---\nText", 2, "empty"),
        ("---\nsubject: A\nlanguage: zh\n---\nText", 3, "zh-Hant"),
        ("---\nsubject: A\n\nText", 1, "not closed"),
        (f"---\nsubject: {'A' * 151}\n---\nText", 2, "shorten"),
        ("+++\nsubject = A\n+++\nText", 2, "TOML"),
        ('+++\nsubject = "A"\ndraft = true\n+++\nText', 3, "quotation"),
        ('+++\nsubject = "A"\nauthor = "B"\n+++\nText', 3, "author"),
        ("---\nsubject: A\n---\n\n  \n", 4, "empty"),
        ("**Text** without any heading", 1, "no subject"),
        ("---\nsubject: A\n---\nText\n\nMore \x07 text", 6, "control"),
    ],
)
def test_what_is_wrong_in_a_file_is_named_with_its_line(tmp_path: Path, content: str, line: int, words: str) -> None:
    path = tmp_path / "issue.en.md"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DigestUnusable, match=rf"issue\.en\.md, line {line}: .*{words}"):
        compose(path)


def test_an_unclosed_comment_line_and_blank_lines_in_front_matter_are_no_fields(tmp_path: Path) -> None:
    path = write(tmp_path, "---\n# for Friday\n\nsubject: 'A: B'\n---\nText", subject=None)
    assert compose(path).subject == "A: B"


def test_a_heading_at_the_top_is_the_subject_and_stands_there_once(tmp_path: Path) -> None:
    sheet = lay_out(write(tmp_path, "# Strike *won*\n\nText\n\n# Next\n\nMore", subject=None))
    assert sheet.subject == "Strike won"
    assert sheet.text.count("Strike won") == 1
    assert sheet.html.count("<h1") == 1
    assert "<h2" in sheet.html


def test_a_heading_too_long_for_a_subject_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DigestUnusable, match="too long for a subject"):
        compose(write(tmp_path, f"# {'word ' * 40}\n\nText", subject=None))


def test_a_digest_of_nothing_but_its_title_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DigestUnusable, match="line 4: is empty"):
        compose(write(tmp_path, "<!-- nothing -->"))


def test_a_link_within_the_page_keeps_its_text_only(tmp_path: Path) -> None:
    sheet = lay_out(write(tmp_path, "[below](#part)"))
    assert "href" not in sheet.html
    assert "below\n" in sheet.text


def test_the_language_may_come_from_the_command(tmp_path: Path) -> None:
    assert compose(write(tmp_path, "Text", "issue.md"), language=Language.ZH_HANS).language is Language.ZH_HANS


def test_a_digest_without_a_language_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DigestUnusable, match="says no language"):
        compose(write(tmp_path, "Text", "issue.v2.md"))


def test_two_languages_for_one_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DigestUnusable, match="in en and in zh-Hant"):
        compose(write(tmp_path, "Text"), language=Language.ZH_HANT)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DigestUnusable, match="no known kind"):
        compose(write(tmp_path, "Text", "issue.en.docx"))


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DigestUnusable, match=r"gone\.en\.md: cannot be read"):
        compose(tmp_path / "gone.en.md")


def test_a_source_of_more_than_a_mebibyte_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DigestUnusable, match="larger than 1024 KiB"):
        compose(write(tmp_path, "x" * (1024 * 1024)))


# --- Markdown -------------------------------------------------------------------------------------------------------


def test_emphasis_works_between_chinese_characters_and_marks(tmp_path: Path) -> None:
    html = lay_out(write(tmp_path, "請看**「重點」**是**注意：**請讀~~舊的。~~新的。", "a.zh-Hant.md")).html
    assert re.findall(r"<strong[^>]*>(.*?)</strong>", html) == ["「重點」", "注意："]
    assert re.findall(r"<s[^>pt]*>(.*?)</s>", html) == ["舊的。"]
    assert "*" not in re.sub(r"<[^>]*>", "", html)


def test_asterisks_of_english_stay_as_commonmark_reads_them(tmp_path: Path) -> None:
    assert "2 * 3 * 4" in text_of(tmp_path, "**Sum**: 2 * 3 * 4")


def test_a_line_end_between_chinese_characters_makes_no_gap(tmp_path: Path) -> None:
    html = lay_out(write(tmp_path, "- 一\n\n工人們\n罷工了，\n“明天”\n再來 and\nso on", "a.zh-Hant.md")).html
    assert "工人們罷工了，“明天”再來 and so on" in html


def test_bare_addresses_become_links_without_the_punctuation_after_them(tmp_path: Path) -> None:
    body = "看https://a.example/x_(y)。或(https://b.example/z)，寄desk@c.example。`https://code.example`"
    html = lay_out(write(tmp_path, body, "a.zh-Hant.md")).html
    hrefs = re.findall(r'href="([^"]*)"', html)
    assert hrefs == ["https://a.example/x_(y)", "https://b.example/z", "mailto:desk@c.example"]


def test_links_are_numbered_in_the_text_and_listed_at_its_end(tmp_path: Path) -> None:
    body = "[one](https://a.example) [two](https://b.example) [again](https://a.example) <https://c.example>"
    text = text_of(tmp_path, body)
    assert "one [1] two [2] again [1] https://c.example\n" in text
    assert text.endswith("Links\n-----\n[1] https://a.example\n[2] https://b.example\n")


def test_a_link_that_leads_nowhere_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(DigestUnusable, match="line 6: this link leads nowhere"):
        compose(write(tmp_path, "Text\n\n[more](page.html)"))


# --- Sanitising -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>planted()</script>",
        "<img onerror=planted()>",
        '<a href="javascript:planted()">x</a>',
        "[x](javascript:planted())",
        "[x](JaVaScRiPt:planted())",
        "[x](data:text/html;base64,planted)",
        "![x](data:image/png;base64,planted)",
        "[x](vbscript:planted)",
        "<style>@import url(https://planted.example/x.css);</style>",
        '<link rel=stylesheet href="https://planted.example/x.css">',
        '<p style="background:url(https://planted.example/x)" class="planted" id="planted">x</p>',
        '<form action="https://planted.example"><input name=planted><button>planted</button></form>',
        '<svg><use href="https://planted.example/#x"/><script>planted()</script></svg>',
        '<iframe src="https://planted.example"></iframe>',
        '<video src="https://planted.example/v" poster="https://planted.example/p"></video>',
        '<object data="https://planted.example"></object><embed src="https://planted.example">',
        '<meta http-equiv=refresh content="0;url=https://planted.example">',
        '<base href="https://planted.example/">',
        "<math><mtext><style><img src=x onerror=planted()></style></mtext></math>",
        "<noscript><p title='</noscript><img onerror=planted()>'></noscript>",
        '<table background="https://planted.example/x"><tr><td background="https://planted.example/y">x</table>',
        "<!-- planted -->",
        "<p onclick=planted()>x</p>",
        '<body background="https://planted.example" onload="planted()">',
    ],
)
def test_raw_html_is_disarmed(tmp_path: Path, hostile: str) -> None:
    sheet = lay_out(write(tmp_path, f"**Before**\n\n{hostile}\n\nAfter"))
    assert "planted" not in sheet.html.lower()
    assert "Before" in sheet.html
    assert "After" in sheet.html


def test_harmless_html_stays_in_the_page_and_in_the_text(tmp_path: Path) -> None:
    sheet = lay_out(write(tmp_path, "H<sub>2</sub>O and <b>bold</b>\n\n<div>In a box</div>"))
    assert "<sub" in sheet.html
    assert "H2O and *bold*" in sheet.text
    assert "In a box" in sheet.text


def test_the_page_loads_nothing_and_carries_no_classes_or_style_sheet(tmp_path: Path) -> None:
    html = html_of(tmp_path, "# A\n\n| a | b |\n|---|--:|\n| 1 | 2 |\n\n```python\nx\n```\n\n[x](https://a.example)")
    assert not re.search(r"\b(class|id|src|action|background)=|<style|<link|<script|url\(|generator", html)
    assert re.findall(r'https?://[^"<]*', html) == ["https://a.example"]


def test_the_page_names_its_language_and_title_and_escapes_them(tmp_path: Path) -> None:
    html = lay_out(write(tmp_path, "文字", "a.zh-Hant.md", subject="A <b> & </title> c")).html
    assert '<html lang="zh-Hant"' in html
    assert "<title>A &lt;b&gt; &amp; &lt;/title&gt; c</title>" in html
    assert 'content="light dark"' in html
    assert "PingFang TC" in html


def test_a_page_nested_for_mischief_is_flattened_and_keeps_its_text(tmp_path: Path) -> None:
    sheet = lay_out(write(tmp_path, "<div>" * 3000 + "deep text"))
    assert "deep text" in sheet.text
    assert "deep text" in sheet.html


# --- The payload ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["issue.en.md", "issue.zh-Hant.md", "issue.zh-Hans.md"])
def test_the_payload_is_seven_bit_with_crlf_and_short_lines(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes((DIGESTS / name).read_bytes())
    Image.effect_noise((900, 600), 50).save(tmp_path / "quay.jpg")
    payload = compose(tmp_path / name, list_name="News", list_address=Address.parse("news@harbour.example")).payload
    assert payload.isascii()
    assert b"\n" not in payload.replace(b"\r\n", b"")
    assert b"\r" not in payload.replace(b"\r\n", b"")
    assert max(map(len, payload.split(b"\r\n"))) <= 998
    assert not re.search(rb"[ \t]\r\n|^From ", payload, re.MULTILINE)


def test_nothing_in_a_letter_tells_what_program_made_it(tmp_path: Path) -> None:
    payload = compose(write(tmp_path, "# A\n\n*Text* and `code`")).payload
    assert not re.search(rb"python|mailer|css|jinja|markdown|generator", payload, re.IGNORECASE)


def test_the_text_of_the_edition_is_the_text_in_the_payload(tmp_path: Path) -> None:
    edition = compose(write(tmp_path, "From now on\n\n- one\n\n. dot\n\n—  –", "a.en.md"))
    plain = parts_of(edition.payload)[1].get_payload(decode=True)
    assert isinstance(plain, bytes)
    assert plain.decode().replace("\r\n", "\n") == edition.text


def test_the_footer_tells_everyone_alike_how_to_leave(tmp_path: Path) -> None:
    for name, words in (
        ("a.en.md", "To stop"),
        ("a.zh-Hant.md", "如不想再收到來信"),
        ("a.zh-Hans.md", "如不想再收到来信"),
    ):
        address = Address.parse("news@harbour.example")
        sheet = lay_out(write(tmp_path, "Text", name), list_name="Harbour", list_address=address)
        assert words in sheet.text
        assert "news+unsubscribe@harbour.example" in sheet.text
        assert 'href="mailto:news+unsubscribe@harbour.example"' in sheet.html


def test_words_of_every_language_have_the_same_names() -> None:
    names = [set(composing._words(language)) for language in Language]
    assert names == [names[0]] * len(names)


def test_a_missing_file_of_words_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(composing, "_folder", lambda: tmp_path)
    composing._words.cache_clear()
    with pytest.raises(DigestUnusable, match=r"en\.txt is missing"):
        composing._words(Language.EN)


def test_an_edition_in_a_traceback_does_not_show_its_subject(tmp_path: Path) -> None:
    path = write(tmp_path, "Planted text", subject="Planted")
    assert "Planted" not in repr(compose(path)) + repr(lay_out(path))


@pytest.mark.parametrize(
    ("name", "body", "remark"),
    [
        ("a.en.md", "Write to [email protected]", "line 4: an e-mail address got lost"),
        ("a.en.md", "Our website is, which is blocked", "line 4: a link seems to have got lost"),
        ("a.zh-Hant.md", "我們的網站是，已被封鎖", "line 4: a link seems to have got lost"),
        ("a.en.md", "<script>x</script>", "line 4: this HTML has no place"),
        ("a.en.md", "![](quay.jpg)", "no description"),
        ("a.zh-Hant.md", "这里说的是罢工工人们的要求，还有对这个问题的讨论", "looks like 简体中文"),
        ("a.zh-Hans.md", "這裡說的是罷工工人們的要求，還有對這個問題的討論", "looks like 繁體中文"),
        ("a.en.md", "這裡說的是罷工", "looks Chinese"),
        ("a.zh-Hans.md", "Only English here", "does not look Chinese"),
    ],
)
def test_proofreading_points_at_what_a_reader_would_stumble_over(
    tmp_path: Path, name: str, body: str, remark: str
) -> None:
    assert any(remark in sentence for sentence in proofread(write(tmp_path, body, name)))


@pytest.mark.parametrize("name", ["issue.en.md", "issue.zh-Hant.md", "issue.zh-Hans.md"])
def test_proofreading_finds_nothing_in_a_good_digest(name: str) -> None:
    assert proofread(DIGESTS / name) == ()
