"""config.toml: what is read from it, what is refused and in which words, and how it is edited."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError

from mailer.config import (
    Config,
    Endpoint,
    MailingList,
    add_identity,
    add_list,
    load,
    read,
    rename_list,
    retire_list,
    shipped_config,
)
from mailer.config.reading import SECTIONS
from mailer.config.section import Section
from mailer.config.sending import NamedRelay, Route, Seed
from mailer.config.upkeep import Admin
from mailer.errors import ConfigError, ListUnknown
from mailer.model.address import Address
from mailer.model.language import Language

NEWS = '[[lists]]\nid = "news"\naddress = "news@example.org"\n'
SECRET = "someone@example.org"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A copy of the shipped config.toml, as `mailer init` makes one."""
    copy = tmp_path / "config.toml"
    copy.write_bytes(shipped_config().read_bytes())
    return copy


def complaint(text: str, path: Path = Path("config.toml")) -> str:
    with pytest.raises(ConfigError) as caught:
        read(text, path)
    return str(caught.value)


# --- The shipped file -----------------------------------------------------------------------------------------------


def test_the_shipped_file_shows_every_default() -> None:
    shipped = load(shipped_config())
    by_default = read("", shipped_config())
    assert shipped.model_copy(update={"providers": by_default.providers}) == by_default


def test_the_shipped_file_names_every_key_once_and_in_its_section() -> None:
    tree = tomllib.loads(shipped_config().read_text(encoding="utf-8"))
    assert {name: set(section) for name, section in tree.items()} == {
        name: set(section.model_fields) for name, section in SECTIONS.items()
    }


def test_the_example_of_a_list_in_the_shipped_file_works_and_shows_every_key_with_its_default() -> None:
    text = shipped_config().read_text(encoding="utf-8")
    example = re.sub(r"^# ?", "", text[text.index("# [[lists]]") :], flags=re.MULTILINE)
    [entry] = tomllib.loads(example)["lists"]
    assert set(entry) == set(MailingList.model_fields)
    bare = f'[[lists]]\nid = "{entry["id"]}"\naddress = "{entry["address"]}"\n'
    [shown], [default] = read(text + example, shipped_config()).lists, read(bare, shipped_config()).lists
    assert shown.model_copy(update={"identities": ()}) == default


@pytest.mark.parametrize(
    ("name", "section"), [("relays", NamedRelay), ("routes", Route), ("seeds", Seed), ("admins", Admin)]
)
def test_the_examples_of_further_sections_in_the_shipped_file_are_read(name: str, section: type[Section]) -> None:
    text = shipped_config().read_text(encoding="utf-8")
    begins = text.index(f"# [[{name}]]")
    example = re.sub(r"^# ?", "", text[begins : text.index("\n\n\n", begins)], flags=re.MULTILINE)
    [entry] = tomllib.loads(example)[name]
    assert set(entry) <= set(section.model_fields)
    others = '[[relays]]\nname = "second"\nhost = "smtp.other.example"\n' if name == "routes" else ""
    assert len(getattr(read(text + "\n" + others + example, shipped_config()), name)) == 1


def test_every_default_is_allowed_by_its_own_bounds(tmp_path: Path) -> None:
    config = read(NEWS, tmp_path / "config.toml")
    for name in SECTIONS:
        numbers = {key: value for key, value in getattr(config, name).model_dump().items() if type(value) is int}
        text = "\n".join([f"[{name}]", *(f"{key} = {value}" for key, value in numbers.items())])
        read(text, tmp_path / "config.toml")


# --- What is read ---------------------------------------------------------------------------------------------------


def test_paths_are_relative_to_the_folder_of_the_file(tmp_path: Path) -> None:
    text = '[door]\ntls_certificate = "tls/chain.pem"\ntls_key = "/etc/tls/key.pem"\nlmtp_socket = "lmtp"\n' + NEWS
    config = read(text + 'contact = "desk@example.org"\ncontact_key = "keys/desk.asc"\n', tmp_path / "config.toml")
    assert config.folder == tmp_path
    assert config.door.tls_certificate == tmp_path / "tls/chain.pem"
    assert config.door.tls_key == Path("/etc/tls/key.pem")
    assert config.door.lmtp_socket == tmp_path / "lmtp"
    assert config.lists[0].contact_key == tmp_path / "keys/desk.asc"
    assert config.lists[0].templates is None


def test_a_relative_name_of_the_file_still_gives_whole_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config.toml").write_text("", encoding="utf-8")
    assert load(Path("config.toml")).store.url == f"sqlite:///{tmp_path}/mailer.db"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:///a/b.db", "sqlite:///FOLDER/a/b.db"),
        ("sqlite:////var/lib/m.db", "sqlite:////var/lib/m.db"),
        ("sqlite+aiosqlite:///a/b.db", "sqlite:///FOLDER/a/b.db"),
        ("postgresql://mailer@db.example.org/mailer", "postgresql://mailer@db.example.org/mailer"),
        ("postgresql+asyncpg://mailer@db.example.org/m", "postgresql+asyncpg://mailer@db.example.org/m"),
        ("postgresql+asyncpg:///m?host=/run/postgresql", "postgresql+asyncpg:///m?host=/run/postgresql"),
    ],
)
def test_a_database_url_is_made_whole(url: str, expected: str, tmp_path: Path) -> None:
    config = read(f'[store]\nurl = "{url}"\n', tmp_path / "config.toml")
    assert config.store.url == expected.replace("FOLDER", str(tmp_path))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:2525", Endpoint("127.0.0.1", 2525)),
        (":25", Endpoint("", 25)),
        ("[::1]:0", Endpoint("::1", 0)),
        ("Mail.Example.org:25", Endpoint("mail.example.org", 25)),
    ],
)
def test_the_door_listens_where_it_is_told(text: str, expected: Endpoint) -> None:
    assert read(f'[door]\nlisten = ["{text}"]\n', Path("config.toml")).door.listen == (expected,)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_a_relay_on_this_machine_may_do_without_tls(host: str) -> None:
    assert read(f'[relay]\nhost = "{host}"\ntls = "none"\n', Path("config.toml")).relay.tls == "none"


def test_a_list_is_read() -> None:
    text = NEWS + 'formerly = ["old@example.org"]\nlanguages = ["zh-Hans"]\ndefault_language = "zh-Hans"\n'
    [news] = read(text, Path("config.toml")).lists
    assert (news.id, news.address, news.formerly) == (
        "news",
        Address.parse("news@example.org"),
        (Address.parse("old@example.org"),),
    )
    assert (news.languages, news.default_language, news.contact) == ((Language.ZH_HANS,), Language.ZH_HANS, None)


def test_settings_cannot_be_changed() -> None:
    config = read("", Path("config.toml"))
    with pytest.raises(ValidationError):
        config.relay.tls = "none"  # type: ignore[misc]


def test_windows_line_ends_and_a_byte_order_mark_are_read(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert load(path).door.max_recipients == 50
    assert "line 2: [door] nothing:" in complaint("[door]\r\nnothing = 1\r\n")


def test_a_printed_configuration_shows_no_address_user_or_database(tmp_path: Path) -> None:
    config = read(
        f'[relay]\nusername = "{SECRET}"\npassword_file = "p"\n[store]\nurl = "postgresql://{SECRET}/d"\n'
        + NEWS
        + f'contact = "{SECRET}"\n',
        tmp_path / "config.toml",
    )
    assert "example.org" not in repr(config)


# --- What is refused ------------------------------------------------------------------------------------------------

WRONG = [
    # keys and sections
    (
        "[door]\n\nmax_leter_bytes = 1",
        3,
        "[door] max_leter_bytes: there is no such key; did you mean max_letter_bytes?",
    ),
    ("[relay]\nbatch = 1", 2, "[relay] batch: there is no such key; batch belongs in [delivery]"),
    ("[door]\nbanner = 1", 2, "[door] banner: there is no such key"),
    ("[dor]", 1, "dor: there is no such section; did you mean [door]?"),
    ("lease_s = 3", 1, "lease_s: there is no such section; lease_s belongs in [delivery]"),
    ("[colours]", 1, "colours: there is no such section"),
    ("door = 3", 1, "[door]: expected a section, found 3"),
    ("lists = 3", 1, "[[lists]]: expected [[lists]] sections, found 3"),
    ("lists = [3]", 1, "[[lists]]: expected [[lists]] sections, found 3"),
    # types and bounds
    ('[relay]\nport = "abc"', 2, '[relay] port: expected a whole number from 1 to 65535, found "abc"'),
    ("[relay]\nport = 0", 2, "[relay] port: expected a whole number from 1 to 65535, found 0"),
    ("[relay]\nport = 65536", 2, "[relay] port: expected a whole number from 1 to 65535, found 65536"),
    ("[relay]\nport = true", 2, "[relay] port: expected a whole number from 1 to 65535, found true"),
    ("[relay]\nport = 25.0", 2, "[relay] port: expected a whole number from 1 to 65535, found 25.0"),
    ("[relay]\nport = [25]", 2, "[relay] port: expected a whole number from 1 to 65535"),
    ("[reader]\nmemory_mib = 1", 2, "[reader] memory_mib: expected a whole number from 128 to 65536, found 1"),
    ("[relay]\nusername = 7", 2, '[relay] username: expected a name in quotes, or "", found 7'),
    ('[relay]\ntls = "maybe"', 2, '[relay] tls: expected "verify" or "none", found "maybe"'),
    ('[relay]\nsecurity = "ssl"', 2, '[relay] security: expected "implicit" or "starttls", found "ssl"'),
    ("[relay]\nca_file = 1", 2, '[relay] ca_file: expected the path of a file in quotes, or "", found 1'),
    ('[relay]\nhost = "no such"', 2, '[relay] host: expected the name of a server in quotes, or ""'),
    ('[relay]\nhost = "a.org\\r\\nRCPT"', 2, '[relay] host: expected the name of a server in quotes, or ""'),
    ('[door]\nhostname = ""', 2, "[door] hostname: expected this machine's name in the DNS, in quotes"),
    ('[door]\nlisten = ":25"', 2, "[door] listen: expected a list such as"),
    ('[door]\nlisten = [\n  ":25",\n  "x",\n]', 2, "[door] listen: expected a list such as"),
    ('[door]\nlisten = [":65536"]', 2, "[door] listen: expected a list such as"),
    ('[door]\nlisten = [":２５"]', 2, "[door] listen: expected a list such as"),
    ('[door]\nlisten = ["::1:25"]', 2, "[door] listen: expected a list such as"),
    ("[door]\nlisten = [25]", 2, "[door] listen: expected a list such as"),
    (
        '[store]\nurl = "mysql://h/d"',
        2,
        '[store] url: expected "sqlite:///FILE" or "postgresql+asyncpg://USER@HOST/DATABASE"',
    ),
    ('[store]\nurl = "sqlite:///"', 2, "[store] url: expected"),
    ('[store]\nurl = "sqlite:///:memory:"', 2, "[store] url: expected"),
    ('[store]\nurl = "postgresql://"', 2, "[store] url: expected"),
    ("[store]\nurl = 3", 2, "[store] url: expected"),
    ('[providers]\nlarge = ["gmail"]', 2, "[providers] large: expected a list of domains"),
    # lists
    ('[[lists]]\naddress = "a@example.org"', 1, "[[lists]] id: is missing; expected 1 to 32 of a-z, 0-9 and -"),
    ('[[lists]]\nid = "a"', 1, "[[lists]] address: is missing; expected an e-mail address without +"),
    ('[[lists]]\nid = "A b"\naddress = "a@example.org"', 2, "[[lists]] id: expected 1 to 32 of a-z, 0-9 and -"),
    ('[[lists]]\nid = "a\\n"\naddress = "a@example.org"', 2, "[[lists]] id: expected 1 to 32 of a-z, 0-9 and -"),
    ('[[lists]]\nid = "a"\naddress = "a+b@example.org"', 3, "[[lists]] address: expected an e-mail address without +"),
    (
        '[[lists]]\nid = "a"\naddress = 3',
        3,
        "[[lists]] address: expected an e-mail address without + in quotes, found 3",
    ),
    (NEWS + 'formerly = ["x"]', 4, "[[lists]] formerly: expected a list of e-mail addresses"),
    (
        NEWS + 'languages = ["fr"]',
        4,
        '[[lists]] languages: expected a list of "en", "zh-Hant" or "zh-Hans", found "fr"',
    ),
    (NEWS + "languages = []", 4, "[[lists]] languages: expected a list of"),
    (NEWS + 'default_language = "fr"', 4, '[[lists]] default_language: expected "en", "zh-Hant" or "zh-Hans"'),
    (NEWS + 'languages = ["zh-Hant"]', 1, "[[lists]] default_language: the default language is not among"),
    (
        NEWS + 'languages = ["en"]\ndefault_language = "zh-Hant"',
        5,
        "[[lists]] default_language: the default language is",
    ),
    (NEWS + 'display_name = "a\\nBcc: b"', 4, "[[lists]] display_name: expected one line of text in quotes"),
    (NEWS + 'display_name = "a\\u202eb"', 4, "[[lists]] display_name: expected one line of text in quotes"),
    (NEWS + 'state = "asleep"', 4, '[[lists]] state: expected "active" or "retired", found "asleep"'),
    (NEWS + 'contact = "desk"', 4, "[[lists]] contact: expected an e-mail address"),
    (NEWS + 'contact_key = "k"', 4, "[[lists]] contact_key: contact_key needs the contact that it belongs to"),
    # each right, but not together
    ('[door]\ntls_key = "k"', 2, "[door] tls_key: tls_key needs its tls_certificate"),
    ('[door]\ntls_certificate = "k"', 2, "[door] tls_certificate: tls_certificate needs its tls_key"),
    ('[relay]\nusername = "u"', 2, "[relay] username: username needs a password_file"),
    ('[relay]\npassword_file = "u"', 2, "[relay] password_file: password_file needs a username"),
    ('[relay]\nhost = "mail.example.org"\ntls = "none"', 3, '[relay] tls: "none" is only for a relay on this machine'),
    ('[relay]\nhost = "10.0.0.1"\ntls = "none"', 3, '[relay] tls: "none" is only for a relay on this machine'),
    ('[relay]\ntls = "none"', 2, '[relay] tls: "none" is only for a relay on this machine'),
    ("[delivery]\nlease_s = 60", 2, "[delivery] lease_s: must be at least 10 times a relay's timeout_s"),
    (NEWS + '[[lists]]\nid = "news"\naddress = "b@example.org"', 5, "[[lists]] id: another list has it already"),
    (NEWS + '[[lists]]\nid = "b"\naddress = "NEWS@example.org"', 6, "[[lists]] address: another list has it already"),
    (
        NEWS + '[[lists]]\nid = "b"\naddress = "b@example.org"\nformerly = ["news@example.org"]',
        7,
        "[[lists]] formerly: another list has it already",
    ),
    # not TOML
    ("[door\n", 1, "this is not TOML: expected ']' at the end of a table declaration (column 6)"),
    ("[door]\ntimeout_s = 1\ntimeout_s = 2\n", 3, "this is not TOML: cannot overwrite a value"),
    ("[door]\nlisten = [\n", 2, "this is not TOML: invalid value (at the end of the file)"),
]


@pytest.mark.parametrize(("text", "line", "words"), WRONG, ids=[words for _, _, words in WRONG])
def test_each_mistake_is_named_with_its_line(text: str, line: int, words: str) -> None:
    assert f"config.toml, line {line}: {words}" in complaint(text)


def test_every_mistake_is_reported_at_once_in_the_order_of_the_file() -> None:
    text = "[relay]\nport = 0\n\n[door]\ntimeout_s = 0\nlisten = 1\n" + NEWS + "formerly = 1\n"
    found = [int(line) for line in re.findall(r"config\.toml, line (\d+)", complaint(text))]
    assert found == [2, 5, 6, 10]


@pytest.mark.parametrize(
    "before",
    [
        'large = [\n  "gmail.com", # [relay]\n  "qq.com",\n]',
        "# port = 1",
        '"buckets" = 8',
    ],
)
def test_lines_are_counted_right_behind_comments_and_values_of_many_lines(before: str) -> None:
    text = f"[providers]\n{before}\n\n[relay]\nport = 0\n"
    assert f"line {text.count(chr(10))}: [relay] port" in complaint(text)


def test_a_text_of_many_lines_that_looks_like_toml_is_not_taken_for_it() -> None:
    assert "line 7: [relay] port" in complaint('[relay]\nusername = """\n[door]\nport = 1\n"""\n\nport = 0\n')


@pytest.mark.parametrize("text", ["door.timeout_s = 0", "door = { timeout_s = 0 }", '"door"."timeout_s" = 0'])
def test_other_ways_to_write_a_key_have_lines_too(text: str) -> None:
    assert "line 2: [door] timeout_s: expected" in complaint(f"# first\n{text}\n")


@pytest.mark.parametrize(
    "text",
    [
        f'[[lists]]\nid = "a"\naddress = "{SECRET} x"',
        f'[relay]\nport = "{SECRET}"',
        f'[store]\nurl = "mysql://{SECRET}"',
        f'[[lists]]\nid = "{SECRET}"\naddress = "a@example.net"',
        f'[[lists]]\nid = "a"\naddress = "{SECRET}"\n[[lists]]\nid = "b"\naddress = "{SECRET}"',
    ],
)
def test_a_complaint_repeats_no_address(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text, Path("config.toml"))
    error: BaseException | None = caught.value
    assert "someone" not in str(error)
    assert error is not None
    assert error.__suppress_context__  # a traceback would print pydantic's text


# --- Files that cannot be read --------------------------------------------------------------------------------------


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.toml cannot be read: No such file"):
        load(tmp_path / "config.toml")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path)


def test_a_file_without_permission_cannot_be_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")  # root, as whom tests may run, is refused nothing

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ConfigError, match="cannot be read: Permission denied"):
        load(path)


def test_a_file_that_is_not_utf8_is_refused_with_the_line(path: Path) -> None:
    path.write_bytes("[door]\n# 設定\n".encode() + "# 設定\n".encode("gb18030"))
    with pytest.raises(ConfigError, match="line 3: this is not UTF-8"):
        load(path)


TWO_IDENTITIES = """[[lists]]
id = "a"
address = "a@example.org"
[[lists.identities]]
name = "abroad"
address = "a@example.net"
[[lists]]
id = "b"
address = "b@example.org"
[[lists.identities]]
name = "A"
adress = "b@example.net"
"""


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('[[relays]]\nname = "x"\nport = "a"\n', "line 3: [[relays]] port: expected a whole number from 1 to 65535"),
        ('[[relays]]\nhost = "h.example"\n', "line 1: [[relays]] name: is missing; expected 1 to 32 of a-z"),
        (
            '[[relays]]\nname = "x"\nbatch = 1\n',
            "line 3: [[relays]] batch: there is no such key; batch belongs in [del",
        ),
        ('[[routes]]\nrelays = ["main"]\n', "line 1: [[routes]] providers: is missing"),
        (TWO_IDENTITIES, "line 11: [[lists.identities]] name: expected 1 to 32 of a-z"),
        (TWO_IDENTITIES, "line 12: [[lists.identities]] adress: there is no such key; did you mean address?"),
    ],
)
def test_a_mistake_in_one_of_several_sections_is_named_with_its_line(path: Path, text: str, sentence: str) -> None:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert f"config.toml, {sentence}" in str(caught.value)


# --- Editing --------------------------------------------------------------------------------------------------------


def test_an_added_list_is_read_back_and_every_other_line_stays(path: Path) -> None:
    before = path.read_text(encoding="utf-8")
    add_list(
        path,
        "news",
        Address.parse("news@example.org"),
        display_name="消息",
        languages=[Language.ZH_HANT, Language.EN],
        contact=Address.parse("desk@example.org"),
        contact_key="keys/desk.asc",
    )
    assert path.read_text(encoding="utf-8").startswith(before)
    [news] = load(path).lists
    assert (news.id, news.display_name, news.default_language) == ("news", "消息", Language.ZH_HANT)
    assert news.contact_key == path.parent / "keys/desk.asc"


def test_a_second_list_comes_behind_the_first(path: Path) -> None:
    add_list(path, "a", Address.parse("a@example.org"))
    add_list(path, "b", Address.parse("b@example.org"))
    assert [one.id for one in load(path).lists] == ["a", "b"]


def test_a_renamed_list_keeps_its_old_addresses_and_its_comments(path: Path) -> None:
    path.write_text(NEWS.replace("[[lists]]\n", "[[lists]] # ours\n# why\n"), encoding="utf-8")
    rename_list(path, "news", Address.parse("news@example.net"))
    rename_list(path, "news", Address.parse("news@example.com"))
    [news] = load(path).lists
    assert str(news.address) == "news@example.com"
    assert [str(address) for address in news.formerly] == ["news@example.org", "news@example.net"]
    assert path.read_text(encoding="utf-8").startswith("[[lists]] # ours\n# why\n")


def test_a_list_that_is_renamed_back_is_not_its_own_former_address(path: Path) -> None:
    path.write_text(NEWS, encoding="utf-8")
    rename_list(path, "news", Address.parse("news@example.net"))
    rename_list(path, "news", Address.parse("News@example.org"))
    [news] = load(path).lists
    assert [str(address) for address in news.formerly] == ["news@example.net"]


def test_a_retired_list_stays_in_the_file(path: Path) -> None:
    path.write_text(NEWS + 'display_name = "x" # kept\n', encoding="utf-8")
    retire_list(path, "news")
    assert load(path).lists[0].state == "retired"
    assert "# kept" in path.read_text(encoding="utf-8")


TWO_LISTS = """[[lists]] # ours
id = "a" # for ever
address = "a@example.org"

# what belongs to b
[[lists]]
id = "b"
address = "b@example.org"
"""


def test_an_identity_stands_in_its_list_and_every_comment_where_it_was(path: Path) -> None:
    path.write_text(TWO_LISTS, encoding="utf-8")
    add_identity(path, "a", "abroad", Address.parse("a@example.net"), display_name="消息")
    add_identity(path, "a", "third", Address.parse("a@example.com"))
    a, b = load(path).lists
    assert [(one.name, str(one.address), one.display_name) for one in a.identities] == [
        ("abroad", "a@example.net", "消息"),
        ("third", "a@example.com", ""),
    ]
    assert b.identities == ()
    text = path.read_text(encoding="utf-8")
    before, after = TWO_LISTS.split("\n# what", 1)
    assert text.startswith(before)
    assert text.endswith(f"\n# what{after}")


def test_a_list_with_identities_is_renamed_and_retired_like_any_other(path: Path) -> None:
    path.write_text(TWO_LISTS, encoding="utf-8")
    add_identity(path, "a", "abroad", Address.parse("a@example.net"))
    rename_list(path, "a", Address.parse("new@example.org"))
    retire_list(path, "a")
    a, b = load(path).lists
    assert (str(a.address), [str(one) for one in a.formerly], a.state) == (
        "new@example.org",
        ["a@example.org"],
        "retired",
    )
    assert (len(a.identities), str(b.address), b.state) == (1, "b@example.org", "active")


@pytest.mark.parametrize(
    ("name", "address"),
    [("abroad", "c@example.net"), ("other", "a@example.net"), ("other", "b@example.org"), ("other", "A@example.org")],
)
def test_an_identity_that_is_taken_is_not_written_and_nothing_is_prepared(path: Path, name: str, address: str) -> None:
    path.write_text(TWO_LISTS, encoding="utf-8")
    add_identity(path, "a", "abroad", Address.parse("a@example.net"))
    before, prepared = path.read_bytes(), list[str]()
    with pytest.raises(ConfigError):
        add_identity(path, "a", name, Address.parse(address), prepare=lambda: prepared.append("a key"))
    assert (path.read_bytes(), prepared) == (before, [])


def test_identities_written_inline_are_not_added_to(path: Path) -> None:
    path.write_text(NEWS + "identities = []\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"begins with \[\[lists.identities\]\]"):
        add_identity(path, "news", "abroad", Address.parse("a@example.net"))


def test_what_has_to_be_there_first_is_prepared_before_the_file_changes(path: Path) -> None:
    before, seen = path.read_bytes(), list[bytes]()
    add_list(path, "news", Address.parse("news@example.org"), prepare=lambda: seen.append(path.read_bytes()))
    assert seen == [before]
    assert load(path).lists


def test_an_unknown_list_cannot_be_renamed_or_retired(path: Path) -> None:
    with pytest.raises(ListUnknown):
        rename_list(path, "news", Address.parse("news@example.org"))
    with pytest.raises(ListUnknown):
        retire_list(path, "news")


def test_a_change_that_would_not_load_is_never_written(path: Path) -> None:
    add_list(path, "news", Address.parse("news@example.org"))
    before = path.read_bytes()
    for list_id, address in [("news", "b@example.org"), ("b", "news@example.org"), ("B b", "b@example.org")]:
        with pytest.raises(ConfigError):
            add_list(path, list_id, Address.parse(address))
    with pytest.raises(ConfigError):
        rename_list(path, "news", Address.parse("news+x@example.org"))
    assert path.read_bytes() == before


def test_a_broken_file_is_not_edited(path: Path) -> None:
    path.write_text("[door]\ntimeout_s = 0\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="line 2"):
        add_list(path, "news", Address.parse("news@example.org"))
    assert path.read_text(encoding="utf-8") == "[door]\ntimeout_s = 0\n"


def test_lists_written_inline_are_not_added_to(path: Path) -> None:
    path.write_text("lists = []\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"begins with \[\[lists\]\]"):
        add_list(path, "news", Address.parse("news@example.org"))


def test_an_edited_file_keeps_its_mode_and_a_link_stays_a_link(path: Path) -> None:
    path.chmod(0o640)
    link = path.parent / "link.toml"
    link.symlink_to(path)
    add_list(link, "news", Address.parse("news@example.org"))
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640
    assert load(path).lists
    assert {one.name for one in path.parent.iterdir()} == {"config.toml", "link.toml"}


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ConfigError, match="cannot be written: No space left"):
        add_list(path, "news", Address.parse("news@example.org"))
    assert path.read_bytes() == before
    assert [one.name for one in path.parent.iterdir()] == ["config.toml"]


def test_the_configuration_has_no_setting_that_sends_a_digest_in_the_clear() -> None:
    keys = [key for section in [*SECTIONS.values(), MailingList] for key in section.model_fields]
    assert not [key for key in keys if re.search("clear|plain|unencrypted|cleartext|encrypt", key)]
    assert Config.model_config["extra"] == "forbid"
