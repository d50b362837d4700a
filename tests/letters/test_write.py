"""Words: the folder decides what may travel in clear, and a fact cannot change a letter's form."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mailer.errors import TemplateError
from mailer.letters.write import Attachment, Wording, templates_folder
from mailer.model.language import Language


def put(root: Path, place: str, content: str) -> None:
    path = root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    root = tmp_path / "shipped"
    put(root, "open/en/confirm.txt", "{# to whoever asks #}\nSubject: Please confirm\n\nAnswer {{ address }}.\n")
    put(root, "open/zh-Hant/confirm.txt", "Subject: 請確認\n\n請回信到 {{ address }}。\n")
    put(
        root,
        "sealed/en/status.txt",
        "Subject: Your settings\n\nLanguage: {{ language }}\n\n{% if paused %}Paused.{% endif %}",
    )
    return root


@pytest.fixture
def override(tmp_path: Path) -> Path:
    return tmp_path / "override"


def test_a_template_of_the_open_folder_may_be_open(shipped: Path) -> None:
    draft = Wording(shipped=shipped).write("confirm", Language.EN, {"address": "news@list.example"})
    assert (draft.subject, draft.text) == ("Please confirm", "Answer news@list.example.\n")
    assert draft.may_be_open and draft.language is Language.EN


def test_a_template_of_the_sealed_folder_may_not(shipped: Path) -> None:
    file = Attachment("key.asc", "application/pgp-keys", b"x")
    draft = Wording(shipped=shipped).write("status", Language.EN, {"language": "en", "paused": ""}, [file])
    assert (draft.text, draft.attachments) == ("Language: en\n", (file,))
    assert not draft.may_be_open


def test_what_lies_in_both_folders_is_sealed(shipped: Path) -> None:
    put(shipped, "sealed/en/confirm.txt", "Subject: a\n\nb\n")
    assert not Wording(shipped=shipped).write("confirm", Language.EN, {}).may_be_open


def test_each_language_has_its_own_words(shipped: Path) -> None:
    draft = Wording(shipped=shipped).write("confirm", Language.ZH_HANT, {"address": "x"})
    assert draft.subject == "請確認"


def test_an_admins_own_template_comes_first(shipped: Path, override: Path) -> None:
    put(override, "open/en/confirm.txt", "Subject: Hello\n\nOurs.\n")
    wording = Wording(override, shipped)
    assert wording.write("confirm", Language.EN, {}).text == "Ours.\n"
    assert wording.write("confirm", Language.ZH_HANT, {"address": "x"}).subject == "請確認"


def test_an_edited_template_is_read_anew(shipped: Path) -> None:
    wording = Wording(shipped=shipped)
    assert wording.write("confirm", Language.ZH_HANT, {"address": "x"}).subject == "請確認"
    path = shipped / "open/zh-Hant/confirm.txt"
    path.write_text("Subject: 請回覆\n\n{{ address }}\n", encoding="utf-8")
    os.utime(path, ns=(1, 1))
    assert wording.write("confirm", Language.ZH_HANT, {"address": "x"}).subject == "請回覆"


@pytest.mark.parametrize(
    "place", ["open/en/status.txt", "open/zh-Hant/status.txt", "sealed/en/confirm.txt", "drafts/en/a.txt"]
)
def test_an_own_template_in_another_folder_than_the_shipped_one_is_refused_at_the_start(
    shipped: Path, override: Path, place: str
) -> None:
    put(override, place, "Subject: a\n\nb\n")
    with pytest.raises(TemplateError, match="wrong folder"):
        Wording(override, shipped)


@pytest.mark.parametrize("content", [b"Subject: a\n\n{{ open", b"Subject: a\n\n{% nonsense %}", b"Subject: \xff\n\na"])
def test_an_own_template_that_cannot_be_parsed_is_named_at_the_start(
    shipped: Path, override: Path, content: bytes
) -> None:
    put(override, "open/en/confirm.txt", "")
    (override / "open/en/confirm.txt").write_bytes(content)
    with pytest.raises(TemplateError, match=r"open/en/confirm\.txt"):
        Wording(override, shipped)


@pytest.mark.parametrize(
    "name", ["", "nothing", "../en/confirm", "/etc/passwd", "Confirm", "confirm.txt", "confirm\n", "a--b"]
)
def test_a_template_that_is_not_there_is_refused(shipped: Path, name: str) -> None:
    with pytest.raises(TemplateError):
        Wording(shipped=shipped).write(name, Language.EN, {"address": "x"})


def test_another_language_is_no_substitute(shipped: Path) -> None:
    with pytest.raises(TemplateError, match="zh-Hans/confirm"):
        Wording(shipped=shipped).write("confirm", Language.ZH_HANS, {"address": "x"})


def test_a_missing_fact_is_named(shipped: Path) -> None:
    with pytest.raises(TemplateError, match=r"open/en/confirm.txt: 'address' is undefined"):
        Wording(shipped=shipped).write("confirm", Language.EN, {})


@pytest.mark.parametrize("fact", ["a\nb", "a\r\nSubject: b", "a\0", "a\x85b", "a\u2028b", "a\x1b[2J"])
def test_a_fact_with_a_line_break_or_control_is_refused_and_not_quoted(shipped: Path, fact: str) -> None:
    with pytest.raises(TemplateError) as caught:
        Wording(shipped=shipped).write("confirm", Language.EN, {"address": fact})
    assert fact not in str(caught.value) and "address" in str(caught.value)


def test_a_fact_is_words_and_not_template(shipped: Path) -> None:
    draft = Wording(shipped=shipped).write("confirm", Language.EN, {"address": "{{ 7 * 7 }} {% raw %} <b>"})
    assert draft.text == "Answer {{ 7 * 7 }} {% raw %} <b>.\n"


@pytest.mark.parametrize(
    "content",
    [
        "{{ address.__class__.__mro__ }}",
        "{% include 'open/en/confirm.txt' %}",
        "{% import '/etc/passwd' as x %}",
        "{{ address.nothing }}",
        "{{ 1 / 0 }}",
        "{{ address + 1 }}",
    ],
)
def test_a_template_that_reaches_out_or_fails_is_refused_without_the_fact(shipped: Path, content: str) -> None:
    put(shipped, "open/en/bad.txt", f"Subject: a\n\n{content}\n")
    with pytest.raises(TemplateError, match=r"open/en/bad\.txt") as caught:
        Wording(shipped=shipped).write("bad", Language.EN, {"address": "someone@provider.example"})
    assert "someone" not in str(caught.value) and caught.value.__suppress_context__


@pytest.mark.parametrize(
    "content", ["", "a\n\nb\n", "Subject:\n\nb\n", "Subject: a\nb\n", "Subject: a\nX: b\n\nc\n", "Subject: a\n\n \n"]
)
def test_a_template_without_subject_or_text_is_refused(shipped: Path, content: str) -> None:
    put(shipped, "open/en/bad.txt", content)
    with pytest.raises(TemplateError, match="Subject"):
        Wording(shipped=shipped).write("bad", Language.EN, {})


def test_a_draft_does_not_show_its_words(shipped: Path) -> None:
    draft = Wording(shipped=shipped).write("status", Language.EN, {"language": "en", "paused": ""})
    assert repr(draft) == "Draft(en)"
    assert repr(Attachment("a", "b", b"c")) == "Attachment(…)"


def test_every_shipped_template_is_in_one_folder_and_in_all_three_languages() -> None:
    places = {path.relative_to(templates_folder()).parts for path in templates_folder().glob("*/*/*.txt")}
    names = {(kind, name) for kind, _, name in places}
    assert {kind for kind, _ in names} == {"open", "sealed"}
    assert len({name for _, name in names}) == len(names)
    assert places == {(kind, language, name) for kind, name in names for language in Language}


def test_every_shipped_template_parses() -> None:
    Wording(override=templates_folder())
