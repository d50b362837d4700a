"""Nobody's name, address, key or word stands in any file, log or letter that is not meant to hold it (DESIGN §2.2).

A whole session is led while the log is at its most talkative; after each step every file is searched, journals too,
and at the end all that left. That the search finds what is there is shown first, form by form and place by place.
"""

from __future__ import annotations

import base64
import json
import logging
import quopri
import re
import smtplib
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.header import Header
from email.message import EmailMessage
from pathlib import Path

import pysequoia
import pytest

from mailer.cli.serve import CHATTY
from mailer.crypto.transit import TransitKey, TransitPublic
from mailer.letters import mime
from mailer.store import inbox
from mailer.store.database import Database
from mailer.store.ledger import Entry
from tests import opening
from tests.attacks.search import Leak, Plants
from tests.house import LIST, ROSTER, SERVICE, House, Person, new_key, open_house, reply_to
from tests.walks.crowd import publish_digest
from tests.walks.far_server import Misdeed, Received, _script

# --- The search finds what is there ----------------------------------------------------------------------------------

WORD = "kumquat orchard at 20° & öst"
KEY = bytes(range(7, 39))
PLANTS = Plants(frozenset({WORD}), {"key": KEY})

ENCODINGS: dict[str, Callable[[str], bytes]] = {
    "plain": lambda text: text.encode(),
    "upper case": lambda text: text.encode().upper(),
    "base64": lambda text: base64.b64encode(b"x" + text.encode()),
    "base64 over two lines": lambda text: base64.encodebytes(b"x" * 40 + text.encode()),
    "hexadecimal": lambda text: text.encode().hex().encode(),
    "UTF-16": lambda text: text.encode("utf-16"),
    "UTF-16 from its other end": lambda text: text.encode("utf-16-be"),
    "JSON": lambda text: json.dumps([text]).encode(),
    "repr": lambda text: repr(text.encode()).encode(),
    "encoded word": lambda text: Header(text, "iso-8859-1" if text.isascii() else "utf-8").encode().encode(),
    "quoted-printable": lambda text: quopri.encodestring(text.encode()),
    "quoted-printable over two lines": lambda text: quopri.encodestring(b"x" * 60 + text.encode()),
}
KEY_ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda key: key,
    "base64": lambda key: base64.b64encode(b"xy" + key),
    "base64 for addresses": lambda key: base64.urlsafe_b64encode(b"x" + key),
    "base32": base64.b32encode,
    "hexadecimal": lambda key: key.hex().encode(),
    "fingerprint": lambda key: key.hex(" ", 2).upper().encode(),
    "repr": lambda key: repr(key).encode(),
}
PLANTED = [*((name, encode(WORD)) for name, encode in ENCODINGS.items())]
PLANTED_KEYS = [(f"key as {name}", encode(KEY)) for name, encode in KEY_ENCODINGS.items()]
LEAKS = pytest.mark.parametrize("leak", [leak for _, leak in PLANTED + PLANTED_KEYS], ids=dict(PLANTED + PLANTED_KEYS))


def _nothing_planted() -> bytes:
    return b"nothing of the kind, " * 50


@LEAKS
async def test_a_leak_into_the_database_is_found(tmp_path: Path, leak: bytes) -> None:
    database = Database(f"sqlite:///{tmp_path}/mailer.db")
    await database.open()
    assert PLANTS.find_in_folder(tmp_path) == []
    async with database.write() as tx:
        await inbox.add(tx, b"1" * 12, leak, datetime.now(UTC))
    assert {found.place for found in PLANTS.find_in_folder(tmp_path)} == {"mailer.db-wal"}
    await database.close()
    assert {found.place for found in PLANTS.find_in_folder(tmp_path)} == {"mailer.db"}


@LEAKS
def test_a_leak_into_a_temporary_file_is_found(tmp_path: Path, leak: bytes) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "tmpabcdef").write_bytes(_nothing_planted() + leak)
    assert {found.place for found in PLANTS.find_in_folder(tmp_path)} == {"deep/tmpabcdef"}
    assert PLANTS.find_in_folder(tmp_path, exempt=["deep/tmpabcdef"]) == []


@LEAKS
def test_a_leak_into_a_letter_is_found(leak: bytes) -> None:
    assert PLANTS.find_in_mail([_letter(_nothing_planted())], []) == []
    assert {found.place for found in PLANTS.find_in_mail([_letter(leak)], [])} == {"letter"}


def _letter(content: bytes, to: str = "ada@reader.example") -> Received:
    return Received(f"MAIL FROM:<{LIST}>", f"RCPT TO:<{to}>", content, is_encrypted=False)


@pytest.mark.parametrize("leak", [WORD, repr(WORD.encode()), json.dumps(WORD), repr(KEY), KEY.hex()])
def test_a_leak_into_the_log_is_found(caplog: pytest.LogCaptureFixture, leak: str) -> None:
    caplog.set_level(logging.DEBUG)
    log = logging.getLogger("mailer.somewhere")
    log.debug("nothing of the kind")
    assert PLANTS.find_in_log(caplog.records) == []
    log.debug("a letter: %s", leak)
    assert {found.place for found in PLANTS.find_in_log(caplog.records)} == {"log mailer.somewhere"}


def test_a_leak_into_a_traceback_is_found(caplog: pytest.LogCaptureFixture) -> None:
    try:
        int(WORD)
    except ValueError:
        logging.getLogger("mailer.somewhere").exception("failed")
    assert PLANTS.find_in_log(caplog.records)


def test_a_letter_may_name_its_recipient_and_nobody_else() -> None:
    plants = Plants(frozenset({"ada@reader.example", "bob@reader.example"}), {})
    named = b"To: ada@reader.example\r\n\r\n"
    assert plants.find_in_mail([_letter(named)], ["RCPT TO:<ada@reader.example>"]) == []
    assert plants.find_in_mail([_letter(named, "bob@reader.example")], [])
    assert plants.find_in_mail([], ["MAIL FROM:<ada@reader.example>"])


# --- A session -------------------------------------------------------------------------------------------------------

NAMES = ["Ada Plantagenet-Lovelace", "陳植入大文", "王植入小明", "Dora Plantagenet-Babbage"]
SUBJECT, TEXT = "Zanzibar rendezvous postponed", "The kumquat orchard opens at midnight."
DIGEST_SUBJECT, DIGEST_TEXT = "Quixotic hinterland bulletin", "Seventeen bicycles were returned to Ouagadougou."
CHINESE_TEXT = "植入的消息：十七輛自行車已經歸還。"
IMPORTED = "imported.marmalade@third.example"


@dataclass
class Session:
    """A house, and all that was planted in it so far."""

    house: House
    temporary: Path
    texts: set[str] = field(default_factory=set)
    keys: dict[str, bytes] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    found: list[tuple[str, Leak]] = field(default_factory=list)
    seen: dict[str, bytes] = field(default_factory=dict)

    def meet(self, person: Person, name: str = "") -> Person:
        local, _, domain = person.address.partition("@")
        self.texts |= {person.address, local, domain, *([name] if name else [])}
        if person.key is not None:
            self.hold(person.address, person)
        return person

    def hold(self, what: str, person: Person) -> None:
        """Plant a key: its point on the curve, and its fingerprint."""
        self.keys[f"key of {what}"] = person.certificate[20:48]
        self.keys[f"fingerprint of {what}"] = bytes.fromhex(pysequoia.Cert.from_bytes(person.certificate).fingerprint)

    async def write(self, letter: EmailMessage, to: str = "", sender: str | None = "") -> list[Received]:
        """Send a letter, look through what it left behind while it waits and after it was answered."""
        await self.house.send(letter, to=to or str(letter["To"]), sender=sender)
        self.look("waiting", only_what_changed=True)
        letters = await self.house.work()
        self.tokens |= {part for one in letters if "+confirm-" in (part := reply_to(one).partition("@")[0])}
        self.look("answered", only_what_changed=True)
        return letters

    def look(self, stage: str, *, only_what_changed: bool = False) -> None:
        if not only_what_changed:
            self.seen.clear()
        plants = Plants(frozenset(self.texts | {one.partition("-")[2] for one in self.tokens}), self.keys)
        folder = self.house.instance.folder
        own = ["config.toml", "keys/contact.asc"]  # the list's own contact
        leaks = plants.find_in_folder(folder, own, self.seen) + plants.find_in_folder(self.temporary)
        self.found += [(stage, leak) for leak in leaks]

    def look_at_the_end(self, records: list[logging.LogRecord]) -> None:
        plants = Plants(frozenset(self.texts), self.keys)
        with_tokens = replace(plants, texts=plants.texts | {one.partition("-")[2] for one in self.tokens})
        far = self.house.far
        leaks = with_tokens.find_in_log(records) + plants.find_in_mail(far.letters, far.commands)
        self.found += [("at the end", leak) for leak in leaks]


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this process and its children put temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


@pytest.fixture
def talkative(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """The log at DEBUG, but for the libraries that the program itself keeps quiet."""
    for name in CHATTY:
        caplog.set_level(logging.WARNING, name)
    caplog.set_level(logging.DEBUG)  # last: this is the level of what is recorded, too
    return caplog


@asynccontextmanager
async def session(folder: Path, temporary: Path) -> AsyncIterator[Session]:
    async with open_house(folder / "instance") as house:
        one = Session(house, temporary)
        secrets = house.secrets
        one.texts |= {"client.example"}  # the writers' own machine, in EHLO and Message-ID
        one.texts |= {SERVICE, ROSTER, SUBJECT, TEXT, DIGEST_SUBJECT, DIGEST_TEXT, CHINESE_TEXT}
        one.keys |= {
            "index key": secrets.index_key,
            "suppression key": secrets.suppression_key,
            "token key": secrets.token_key,
            "rest key": secrets.rest_key,
            "transit key": secrets.transit_private.raw[:32],
            "roster key": house.roster_key.raw[:32],
            "list key": _secret_part(secrets.list_keys["news"]),
        }
        yield one


def _secret_part(secret_key: bytes) -> bytes:
    """Octets that a secret key has and its certificate has not."""
    public = bytes(pysequoia.Tsk.from_bytes(secret_key).extract_certificate())
    part = next(secret_key[at : at + 24] for at in range(40, 200) if secret_key[at : at + 24] not in public)
    assert len(part) == 24
    return part


def named(letter: EmailMessage, name: str) -> EmailMessage:
    address = str(letter["From"])
    letter.replace_header("From", f"{Header(name, 'utf-8').encode()} <{address}>")
    return letter


async def join(session: Session, person: Person, name: str, verb: str) -> None:
    [question] = await session.write(named(person.letter(verb, with_key=True), name), sender=person.address)
    answer = named(person.letter("Re: [...]", TEXT), name)
    assert await session.write(answer, to=reply_to(question), sender=person.address)


async def test_a_whole_session_leaves_nobodys_name_anywhere(
    tmp_path: Path, temporary: Path, talkative: pytest.LogCaptureFixture
) -> None:
    async with session(tmp_path, temporary) as here:
        house = here.house
        ada, chen, wang, dora = people = [
            here.meet(Person.with_key(f"{name}.kumquat@reader-{name}.example"), full)
            for name, full in zip(("ada", "chen", "wang", "dora"), NAMES, strict=True)
        ]
        for person, name, verb in zip(people, NAMES, ("subscribe", "訂閱", "订阅", "join"), strict=True):
            await join(here, person, name, verb)
        for person, wanted in ((ada, "format inline"), (chen, "改用附件"), (dora, "format pdf")):
            await choose(here, person, wanted)

        await change_key(here, ada)
        await change_address(here, ada, here.meet(Person("ada.elsewhere@other-place.example")))
        for command in ("status", "pause", "language 简体中文", "help", "key"):
            assert await here.write(wang.letter(command))
        [passed_on] = await here.write(named(ada.letter(SUBJECT, TEXT), NAMES[0]), sender=ada.address)
        assert Plants(frozenset({TEXT}), {}).find("opened", bytes(house.contact.open(passed_on)))
        await refuse_keys(here)
        await encrypted_to_nobody(here, chen)
        await here.write(ada.letter(SUBJECT, TEXT, Auto_Submitted="auto-replied"))
        await here.write(ada.letter(SUBJECT, TEXT), sender=None)

        import_people(here, tmp_path / "people.csv")
        here.look("imported")
        house.clock.moment = datetime.now(UTC)  # the command has the time of day
        await send_digest(here)
        await leave(here, chen)
        await set_something_aside(here)
        await meet_trouble(here, wang)

        await plant_what_the_register_holds(here)
        here.look("before the end")
        await house.database.close()
        here.look("closed")
        here.look_at_the_end(talkative.records)
        assert here.found == []
        assert len(house.far.letters) > 20 and len(here.tokens) >= 6 and len(here.keys) > 20
        assert any(record.name.startswith("mailer") for record in talkative.records)


async def choose(here: Session, person: Person, wanted: str) -> None:
    """Have a person's letters come in another form; the words for PDFs are planted, too."""
    [question] = await here.house.write(person.letter(wanted))
    [told] = await here.house.write(person.letter("Re: [...]", "ok"), to=reply_to(question))
    words = re.search(r"^  ([a-z]+(?: [a-z]+){4})\r?$", person.read(told), re.MULTILINE)
    if words:
        person.words = words[1]
        here.texts.add(person.words)


async def change_key(here: Session, person: Person) -> None:
    person.key = new_key(person.address)
    here.hold(f"the new key of {person.address}", person)
    [question] = await here.write(person.letter("new key", with_key=True))
    assert await here.write(person.letter("Re: [...]", "ok"), to=reply_to(question))


async def change_address(here: Session, person: Person, to: Person) -> None:
    [question] = await here.write(person.letter(f"change address to {to.address}"))
    [second] = await here.write(person.letter("Re: [...]", "ok"), to=reply_to(question))
    assert len(await here.write(person.letter("Re: [...]", "ok"), to=reply_to(second))) == 2
    person.address = to.address


async def refuse_keys(here: Session) -> None:
    """One that can only sign, one that is secret, one that is no key."""
    secret = bytes(new_key("secret@refused.example"))
    here.keys["a secret key that was mailed"] = _secret_part(secret)
    for number, blob in enumerate([_sign_only(), secret, b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nkumquat\n"]):
        person = here.meet(Person(f"refused-{number}.kumquat@refused.example"))
        letter = person.letter("subscribe", TEXT)
        letter.add_attachment(blob, maintype="application", subtype="pgp-keys", filename=f"{NAMES[0]}.asc")
        assert await here.write(letter)


def _sign_only() -> bytes:
    """A certificate without its last two packets: encryption subkey and binding."""
    packets = list(pysequoia.packet.PacketPile.from_bytes(_bare("sign.only@refused.example")))
    return b"".join(bytes(packet) for packet in packets[:-2])


def _bare(address: str) -> bytes:
    return bytes(new_key(address).extract_certificate())


async def encrypted_to_nobody(here: Session, person: Person) -> None:
    other = pysequoia.Cert.from_bytes(Person.with_key("other@elsewhere.example").certificate)
    letter = person.letter("...", pysequoia.encrypt(TEXT.encode(), [other]).decode())
    assert await here.write(letter)


def import_people(here: Session, path: Path) -> None:
    imported = here.meet(Person.with_key(IMPORTED))
    path.write_text(f'address,language,key\n{IMPORTED},zh-Hant,"{imported.armored}"\nsecond.{IMPORTED},en,\n')
    passphrase = path.with_name("service-passphrase")
    passphrase.write_text(SERVICE + "\n")
    arguments = ["subscribers", "import", str(path), "--service-passphrase-file", str(passphrase)]
    folder = ["--instance", str(here.house.instance.folder)]
    done = subprocess.run([sys.executable, "-m", "mailer", *arguments, *folder], capture_output=True, check=True)
    plants = Plants(frozenset(here.texts), here.keys)
    here.found += [("printed", leak) for leak in plants.find("printed", done.stdout + done.stderr)]


async def send_digest(here: Session) -> None:
    english = f"---\nsubject: {DIGEST_SUBJECT}\nlanguage: en\n---\n\n{DIGEST_TEXT}\n"
    chinese = f"---\nsubject: 植入的標題\nlanguage: zh-Hant\n---\n\n{CHINESE_TEXT}\n"
    here.texts |= {"植入的標題"}
    await publish_digest(here.house, "d1", english, chinese)
    here.look("published")
    letters = await here.house.deliver()
    assert len(letters) == 6  # four who are active, and two invitations
    forms = {opening.form_of(letter.content) for letter in letters if b"List-Unsubscribe" in letter.content}
    assert forms == set(opening.Form) - {opening.Form.CLEAR, opening.Form.SMIME}  # which is in test_leak_smime
    for letter in letters:
        if b"List-Unsubscribe" in letter.content:
            token = letter.content.split(b"+unsubscribe-")[1].split(b"@")[0].replace(b"\r\n ", b"")
            here.tokens.add(f"unsubscribe-{token.decode()}")
    here.look("delivered")


async def leave(here: Session, person: Person) -> None:
    [question] = await here.write(person.letter("退訂"))
    assert await here.write(person.letter("Re: [...]", "ok"), to=reply_to(question))


async def set_something_aside(here: Session) -> None:
    """A letter that cannot be read is kept, sealed."""
    stranger = here.meet(Person("stranger.kumquat@nowhere.example"))
    letter = stranger.letter(SUBJECT, TEXT)
    letter._headers.append(("From", "second.kumquat@nowhere.example"))  # type: ignore[attr-defined]
    assert await here.write(letter, sender=stranger.address) == []


async def meet_trouble(here: Session, person: Person) -> None:
    """A relay that quotes addresses, a peer that sends what no server should, and a fault of our own."""
    quoting = [f"450 4.2.0 <{person.address}> later", f"550 5.1.1 <{person.address}>: {NAMES[2]} is unknown"]
    for said in (*quoting, Misdeed.CLOSE):
        here.house.far._scripts["RCPT"] = _script([said])
        await here.house.send(person.letter("help"))
        await here.house.work()
    with pytest.raises(smtplib.SMTPDataError):
        await here.house.send(f"From: {person.address}\r\nSubject: {SUBJECT}\nbare\r\n\r\n{TEXT}\0\r\n".encode())
    accept = here.house.door._accept

    async def fail(_envelopes: list[object], content: bytes) -> None:
        raise ValueError(content)

    here.house.door._accept = fail  # type: ignore[assignment]
    with pytest.raises(smtplib.SMTPDataError):
        await here.house.send(person.letter(SUBJECT, TEXT))
    here.house.door._accept = accept
    here.look("after trouble")


async def plant_what_the_register_holds(here: Session) -> None:
    entries = [entry async for entry in here.house.deliverer.ledger.read_all(here.house.database, "news")]
    assert len(entries) == 5
    for number, entry in enumerate(entries):
        assert isinstance(entry, Entry)
        here.keys[f"drawer key {number}"] = entry.record.drawer_key
        here.texts.add(str(entry.record.address))
    here.keys["data key"] = here.house.deliverer.ledger._current.key


# --- A leak is found in a session too --------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["database", "temporary", "log", "digest", "reply", "cover of a file", "text"])
async def test_a_leak_that_a_session_plants_is_found(
    tmp_path: Path,
    temporary: Path,
    talkative: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    async with session(tmp_path, temporary) as here:
        ada = here.meet(Person.with_key("ada.kumquat@reader.example"), NAMES[0])
        _make_a_leak(where, here, monkeypatch)
        await join(here, ada, NAMES[0], "subscribe")
        if where in FORM_OF_LEAK:
            await choose(here, ada, FORM_OF_LEAK[where])
        await publish_digest(here.house, "d1", f"---\nsubject: {DIGEST_SUBJECT}\nlanguage: en\n---\n\n{DIGEST_TEXT}\n")
        assert len(await here.house.deliver()) == 1
        here.look("at the end")
        here.look_at_the_end(talkative.records)
        assert here.found
        expected = {"database": "mailer.db", "temporary": "tmp", "log": "log "}
        assert all(leak.place.startswith(expected.get(where, "letter")) for _, leak in here.found), here.found


FORM_OF_LEAK = {"cover of a file": "format attachment", "text": "format inline"}


def _make_a_leak(where: str, here: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a guard away, or do what a careless change would do."""
    accept = here.house.door._accept

    async def keep_a_copy(envelopes: list[object], content: bytes) -> None:
        descriptor, _ = tempfile.mkstemp()
        with open(descriptor, "wb") as file:
            file.write(base64.b64encode(content))
        await accept(envelopes, content)  # type: ignore[arg-type]

    async def tell_the_log(envelopes: list[object], content: bytes) -> None:
        logging.getLogger("mailer.inward").debug("came in: %s", content)
        await accept(envelopes, content)  # type: ignore[arg-type]

    if where == "database":
        seal, open_ = TransitPublic.seal, TransitKey.open
        parted = b"-- and in clear, to look for a fault --"
        monkeypatch.setattr(TransitPublic, "seal", lambda *what: seal(*what) + parted + what[2])
        monkeypatch.setattr(TransitKey, "open", lambda *what: open_(what[0], what[1].split(parted)[0], what[2]))
    elif where == "temporary":
        here.house.door._accept = keep_a_copy  # type: ignore[assignment]
    elif where == "log":
        here.house.door._accept = tell_the_log  # type: ignore[assignment]
    elif where == "digest":
        monkeypatch.setattr("mailer.letters.seal.identity.OUTER_SUBJECT", DIGEST_SUBJECT)
    elif where == "cover of a file":
        monkeypatch.setattr("mailer.letters.seal.attachment.cover_text", lambda: f"{DIGEST_SUBJECT}\n")
    elif where == "text":
        armored_text = mime.armored_text
        monkeypatch.setattr(mime, "armored_text", lambda armored: armored_text(armored) + f"{DIGEST_TEXT}\r\n".encode())
    else:
        monkeypatch.setattr("mailer.letters.seal.identity.OUTER_SUBJECT", NAMES[0])
