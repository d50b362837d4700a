"""The letters of ours: each there in three languages, short, in one script, and telling nothing where they are open."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest
from jinja2 import Environment, StrictUndefined, meta

from mailer.doctor.checks import Alert
from mailer.inward.understand import Source, understand
from mailer.inward.verbs import LANGUAGE_NAMES
from mailer.letters.write import Draft, Wording
from mailer.model.address import Address
from mailer.model.certificate import OF_OPENPGP, OF_X509, Refusal, Refused
from mailer.model.command import Verb
from mailer.model.language import Language
from mailer.model.letter import Letter
from mailer.model.subscriber import Format

TEMPLATES = Path(__file__).parents[2] / "templates"
PROTOCOL = Path(__file__).parents[2] / "docs" / "protocol.md"
COLUMNS = 78
OWN = Address("news", "list.example")
TOKEN = "abcdefghijklmnopqrstuvwx"
FACTS = {
    "list": str(OWN),
    "help_address": "news+help@list.example",
    "fingerprint": "0123 4567 89AB CDEF 0123 4567 89AB CDEF 0123 4567",
    "days": "7",
    "state": "active",
    "language": "zh-Hant",
    "address": "alice@example.org",
    "key_fingerprint": "89AB CDEF 0123 4567 89AB CDEF 0123 4567 89AB CDEF",
    "joined": "2026-05-01",
    "algorithms": "rsa1024, sha1",
    "format": "inline",
    "method": "openpgp",
    "has_words": "yes",
}
FOR_CONFIRMATION = {"confirm": f"news+confirm-{TOKEN}@list.example"}
OF_ONE_TEMPLATE = {
    "alert": {"kind": "aside"},
    "card": {
        "code": "k7m4-q2xw-9t3n-ab5d",
        "passphrase": "cotton violin marble pepper anchor",
        "valid_until": "2026-12-24",
        "card": "b7k3-12",
    },
    "confirm-key": {"new_fingerprint": FACTS["key_fingerprint"]},
    "key-changed-old": {"new_fingerprint": FACTS["key_fingerprint"]},
    "confirm-address-old": {"new_address": "alice@example.net"},
    "confirm-language": {"new_language": "en"},
    "confirm-format": {"new_format": "inline"},
    "confirm-several": {"new_language": "en", "asks_pause": "yes"},
    "settings-changed": {"new_language": "en", "asks_pause": "yes"},
    "format-changed": {"new_format": "inline"},
    "format-pdf": {"passphrase": "cotton violin marble pepper anchor"},
    "key-expires": {"expires": "2026-12-24"},
    "certificate-expires": {"expires": "2026-12-24"},
    "list-key-changed": {"former_fingerprint": FACTS["key_fingerprint"], "until": "2026-12-24"},
    "list-key-replaced": {"former_fingerprint": FACTS["key_fingerprint"]},
}
MAY_BE_UNKNOWN = ("new_address", "new_language", "new_format", "until")

# Words that tell a mail filter, or somebody who looks over a shoulder, what a list is for.
TELLING = (
    *("campaign", "protest", "demonstrat", "democra", "freedom", "human right", "solidarity", "repress", "censor"),
    *("blocked", "blocking", "government", "police", "activis", "politic", "party", "elect", "union", "strike"),
    *("socialis", "communis", "revolution", "prison", "arrest", "hong kong", "china", "taiwan", "tibet"),
    *("vpn", "tor", "proxy", "firewall"),
    *(
        "運動",
        "运动",
        "抗議",
        "抗议",
        "示威",
        "遊行",
        "游行",
        "集會",
        "集会",
        "民主",
        "自由",
        "人權",
        "人权",
        "聲援",
        "声援",
    ),
    *(
        "鎮壓",
        "镇压",
        "審查",
        "审查",
        "封鎖",
        "封锁",
        "政府",
        "警察",
        "政治",
        "政黨",
        "政党",
        "共產",
        "共产",
        "社會主義",
    ),
    *(
        "社会主义",
        "選舉",
        "选举",
        "工會",
        "工会",
        "罷工",
        "罢工",
        "革命",
        "被捕",
        "監獄",
        "监狱",
        "香港",
        "中國",
        "中国",
    ),
    *("台灣", "台湾", "西藏", "翻墙", "翻牆", "代理"),
)
# Nor does what comes to somebody who has only asked say that there is encryption.
SECRETIVE = ("encrypt", "加密", "secret", "pgp")
WITHOUT_SECRETS = ("confirm-subscribe", "confirm-unsubscribe", "token-unknown")


def paths(kind: str = "*") -> list[Path]:
    return sorted(TEMPLATES.glob(f"{kind}/*/*.txt"))


def name_of(path: Path) -> str:
    return "/".join(path.parts[-3:])


def facts_for(name: str) -> dict[str, str]:
    confirmation = FOR_CONFIRMATION if name.startswith("confirm-") else {}
    return FACTS | confirmation | OF_ONE_TEMPLATE.get(name, {})


def write(path: Path, **facts: str) -> Draft:
    return Wording(shipped=TEMPLATES).write(path.stem, Language(path.parent.name), facts_for(path.stem) | facts)


def width(line: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in line)


def variables(path: Path) -> set[str]:
    return meta.find_undeclared_variables(Environment(autoescape=True).parse(path.read_text(encoding="utf-8")))


every = pytest.mark.parametrize("path", paths(), ids=name_of)
every_open = pytest.mark.parametrize("path", paths("open"), ids=name_of)


@pytest.mark.parametrize("kind", ["open", "sealed"])
def test_every_template_exists_in_all_three_languages(kind: str) -> None:
    names = [{path.name for path in (TEMPLATES / kind / language).glob("*.txt")} for language in Language]
    assert names[0]
    assert names[0] == names[1] == names[2]


def test_no_template_is_both_open_and_sealed() -> None:
    assert not {path.stem for path in paths("open")} & {path.stem for path in paths("sealed")}


@pytest.mark.parametrize("reason", sorted(OF_OPENPGP))
def test_every_reason_to_refuse_a_key_has_a_letter(reason: Refusal) -> None:
    assert (TEMPLATES / "open" / "en" / f"{Refused(reason).template}.txt").is_file()


@pytest.mark.parametrize("reason", sorted(OF_X509))
def test_every_reason_to_refuse_a_certificate_for_smime_has_a_letter(reason: Refusal) -> None:
    assert (TEMPLATES / "open" / "en" / f"{Refused(reason, is_x509=True).template}.txt").is_file()


@every
def test_the_three_languages_of_a_template_state_the_same_facts(path: Path) -> None:
    english = path.parent.parent / Language.EN / path.name
    assert variables(path) == variables(english)


@every
def test_a_template_needs_no_fact_but_those_that_there_are(path: Path) -> None:
    environment = Environment(undefined=StrictUndefined, autoescape=True)
    assert environment.from_string(path.read_text(encoding="utf-8")).render(facts_for(path.stem))
    assert variables(path) <= set(facts_for(path.stem))


@every
def test_a_confirmation_names_the_address_that_confirms(path: Path) -> None:
    assert (FOR_CONFIRMATION["confirm"] in write(path).text) is path.stem.startswith("confirm-")


@every
def test_a_letter_has_a_subject_of_one_short_line_and_no_long_lines(path: Path) -> None:
    draft = write(path)
    assert 0 < width(draft.subject) <= COLUMNS
    assert max(map(width, draft.text.splitlines())) <= COLUMNS
    assert "\n\n\n" not in draft.text
    assert not re.search(r"[ \t]$|\t|\{[{%]", draft.text, re.MULTILINE)


@pytest.mark.parametrize("path", [path for path in paths() if variables(path) & set(MAY_BE_UNKNOWN)], ids=name_of)
def test_a_letter_reads_well_without_the_facts_that_may_be_unknown(path: Path) -> None:
    known = {name: fact for name, fact in facts_for(path.stem).items() if name not in MAY_BE_UNKNOWN}
    with_them = write(path).text
    without = Wording(shipped=TEMPLATES).write(path.stem, Language(path.parent.name), known).text
    assert len(without) < len(with_them)
    assert "\n\n\n" not in without
    assert not re.search(r"[:：]\s*[.。]|[:：]\n\n.*[,，]$", without.split("news+confirm")[0], re.MULTILINE)


@pytest.mark.parametrize("path", [path for path in paths() if path.stem == "status"], ids=name_of)
@pytest.mark.parametrize("state", ["active", "paused", "suspended"])
def test_a_status_is_told_in_words_and_not_in_codes(path: Path, state: str) -> None:
    text = write(path, state=state).text
    assert "zh-Hant" not in text
    assert path.parent.name == "en" or state not in text


def lacks_script(char: str, own: str, other: str) -> bool:
    """Whether only the other script writes `char`: Big5 lacks what is simplified alone, GB 2312 the reverse."""
    return "\u4e00" <= char <= "\u9fff" and not char.encode(own, "ignore") and bool(char.encode(other, "ignore"))


def without_other_scripts(text: str) -> str:
    """Drop the lines that speak to readers of another script in their own."""
    return "\n".join(line for line in text.splitlines() if not re.match(r"(繁體|简体)中文：", line))


@pytest.mark.parametrize(("language", "own", "other"), [("zh-Hant", "big5", "gb2312"), ("zh-Hans", "gb2312", "big5")])
def test_each_chinese_text_is_in_its_own_script(language: str, own: str, other: str) -> None:
    strays = {
        f"{path.stem}: {char}"
        for path in TEMPLATES.glob(f"*/{language}/*.txt")
        if path.stem != "help-all"
        for char in without_other_scripts(path.read_text(encoding="utf-8"))
        if lacks_script(char, own, other)
    }
    assert not strays


def test_the_check_of_scripts_finds_a_planted_character() -> None:
    assert lacks_script("訂", "gb2312", "big5")
    assert lacks_script("订", "big5", "gb2312")
    assert not lacks_script("加", "gb2312", "big5")


def telling_words(draft: Draft, words: tuple[str, ...]) -> list[str]:
    text = f"{draft.subject}\n{draft.text}".casefold()
    ascii_words = [word for word in words if word.isascii() and re.search(rf"\b{re.escape(word)}", text)]
    return ascii_words + [word for word in words if not word.isascii() and word in text]


@every_open
def test_an_open_letter_does_not_tell_what_the_list_is_for(path: Path) -> None:
    assert telling_words(write(path), TELLING) == []


@pytest.mark.parametrize("path", [path for path in paths("open") if path.stem in WITHOUT_SECRETS], ids=name_of)
def test_a_confirmation_in_the_clear_does_not_speak_of_encryption(path: Path) -> None:
    assert telling_words(write(path), SECRETIVE) == []


def test_the_check_of_telling_words_finds_a_planted_one() -> None:
    draft = Draft("Hello", "Join our Campaign.\n支持民主\n", Language.EN, may_be_open=True)
    assert telling_words(draft, TELLING) == ["campaign", "民主"]


@every_open
def test_an_open_letter_carries_no_fact_about_its_reader(path: Path) -> None:
    of_the_key_in_their_letter = {"algorithms"}
    assert variables(path) - of_the_key_in_their_letter <= {"list", "help_address", "fingerprint", "days", "confirm"}


@every
def test_a_reply_to_a_letter_of_ours_is_no_command_by_its_subject(path: Path) -> None:
    for subject in (write(path).subject, f"Re: {write(path).subject}", f"回复：{write(path).subject}"):
        assert understand(Letter(Address("a", "b.example"), subject, ""), "", OWN).command.verb is Verb.CONTACT


def commands_in(text: str) -> list[str]:
    """The indented lines of a letter, without their explanation: two spaces begin it."""
    shown = [re.split(r"\s{2,}", line.strip())[0] for line in text.splitlines() if re.match(r"  \S", line)]
    return [line for line in shown if not re.match(r"[0-9A-F]{4} |gpg |\S+@", line)]


@pytest.mark.parametrize(
    "path",
    [path for path in paths() if path.stem in ("help", "help-all", "welcome", "language-changed", "format-changed")],
    ids=name_of,
)
def test_every_command_that_a_letter_teaches_is_understood(path: Path) -> None:
    taught = commands_in(write(path).text)
    assert taught
    for line in taught:
        in_subject = understand(Letter(Address("a", "b.example"), line, ""), "", OWN)
        in_text = understand(Letter(Address("a", "b.example"), "", line), "", OWN)
        assert in_subject.command.verb is not Verb.CONTACT, line
        assert (in_subject.source, in_text.source) == (Source.SUBJECT, Source.TEXT)
        assert in_subject.command == in_text.command


@pytest.mark.parametrize("path", [path for path in paths() if path.stem == "help"], ids=name_of)
def test_the_help_teaches_every_command(path: Path) -> None:
    sender = Address("a", "b.example")
    asked = [understand(Letter(sender, line, ""), "", OWN).command for line in commands_in(write(path).text)]
    with_key_or_token = {Verb.CONFIRM, Verb.JOIN_BY_CARD, Verb.BOUNCE, Verb.CONTACT, Verb.UNCLEAR}
    assert {command.verb for command in asked} == set(Verb) - with_key_or_token
    assert {command.language for command in asked if command.verb is Verb.SET_LANGUAGE} == set(Language)
    assert {command.format for command in asked} - {None} == set(Format)


@pytest.mark.parametrize("path", [path for path in paths() if path.stem == "help"], ids=name_of)
def test_the_help_says_how_to_get_it_in_the_other_two_languages(path: Path) -> None:
    quoted = re.findall(r"(?:English|体中文|體中文)[:：].*[「“\"](.+)[」”\"]", write(path).text)
    languages = {understand(Letter(Address("a", "b.example"), word, ""), "", OWN).command for word in quoted}
    assert {command.language for command in languages} == set(Language) - {Language(path.parent.name)}
    assert {command.verb for command in languages} == {Verb.HELP}


def test_the_help_in_all_languages_says_the_same_in_each_folder_with_its_own_language_first() -> None:
    blocks = {}
    for language in Language:
        text = write(TEMPLATES / "open" / language / "help-all.txt").text
        blocks[language] = [block.strip() for block in text.split("--------")]
        first = Letter(Address("a", "b.example"), commands_in(blocks[language][0])[0], "")
        assert understand(first, "", OWN).command.language is language
    assert len({frozenset(one) for one in blocks.values()}) == 1
    assert [len(one) for one in blocks.values()] == [3, 3, 3]


def test_every_language_has_a_name_that_people_write() -> None:
    assert set(Language) | {None} == set(LANGUAGE_NAMES)


def test_the_protocol_page_explains_every_reply_under_its_own_subject() -> None:
    text = PROTOCOL.read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| ([^|]+) \| ((?:open|sealed)/[^|]+) \|", text, re.MULTILINE))
    explained: dict[str, str] = {}
    for subject, names in rows.items():
        kind, _, rest = names.partition("/")
        first, *others = rest.split(", ")
        stem = first.split("-")[0]
        explained |= {f"{kind}/{name if name[0] != '-' else stem + name}": subject for name in (first, *others)}
    shipped = {f"{path.parent.parent.name}/{path.stem}": write(path).subject for path in TEMPLATES.glob("*/en/*.txt")}
    assert set(explained) == set(shipped)
    for name, subject in shipped.items():
        assert subject.split(" / ")[0].removesuffix(" Please reply") in explained[name], name


def test_every_command_on_the_protocol_page_is_understood_as_its_row_says() -> None:
    text = PROTOCOL.read_text(encoding="utf-8").replace("TOKEN", TOKEN)
    rows = [row.strip("|").split("|") for row in re.findall(r"^\|.+\|.*\|.+\|.+\|.+\|$", text, re.MULTILINE)[2:]]
    assert len(rows) == len(set(Verb) - {Verb.BOUNCE, Verb.UNCLEAR})
    sender = Address("a", "b.example")
    for _, addresses, *columns in rows:
        details = re.findall(r"news\+([a-z0-9-]+)@", addresses)
        words = [word for column in columns for word in re.split("、|, ", column.strip())]
        asked = {understand(Letter(sender, word, ""), "", OWN).command.verb for word in words}
        offered = (Refused(Refusal.EXPIRED),) if Verb.SET_KEY in asked else ()
        asked |= {understand(Letter(sender, "", "", offered=offered), detail, OWN).command.verb for detail in details}
        assert len(asked) == 1, words


@pytest.mark.parametrize("path", [path for path in paths() if path.stem == "alert"], ids=name_of)
def test_each_kind_of_alert_has_words_of_its_own(path: Path) -> None:
    texts = {write(path, kind=kind).text for kind in Alert}
    assert len(texts) == len(Alert)
    assert all(max(map(width, text.splitlines())) <= COLUMNS for text in texts)
