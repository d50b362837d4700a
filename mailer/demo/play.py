"""The demonstration: the whole life of a list, one act after the other. Each raises DemoFailed where a promise breaks.

Nothing in it is stood in for but the readers and their mail server: the instance, the service, its deliverer and the
organiser's commands are the programs that everybody runs, and all letters travel by SMTP.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mailer.demo import checks, gnupg, people, reading
from mailer.demo.mailbox_server import HOST
from mailer.demo.people import TEXTS, Expired, Person
from mailer.demo.reading import Opened
from mailer.demo.stage import LIST, Stage
from mailer.errors import DemoFailed
from mailer.model.certificate import grouped
from mailer.model.language import Language

SEEN_OUTSIDE = ("From", "To", "Subject", "Date", "Message-ID", "List-Id", "List-Unsubscribe", "Content-Type")
LANGUAGES = (Language.EN, Language.ZH_HANT)  # of the digests; 赵林 reads the list's default, English
LINES_SHOWN = 7
QUOTE = "│ "  # stands before what a letter says

Act = tuple[str, Callable[[], None]]


@dataclass
class Play:
    """What is known so far. tell: takes the story, line by line. certificate: the list's, as it came by mail."""

    stage: Stage
    tell: Callable[[str], None]
    readers: tuple[Person, Person, Person] = field(default_factory=people.draw)
    expired: Expired = field(default_factory=Expired)
    fingerprint: str = ""
    certificate: bytes = b""
    letters: dict[str, bytes] = field(default_factory=dict)  # the last one that each reader got

    def acts(self) -> tuple[Act, ...]:
        """Return what is played, in order: what each act shows, and the act."""
        _, leaver, _ = self.readers
        return (
            ("An instance with one list is made in a temporary folder", self.make_instance),
            ("The service starts, and a mail server that receives", self.serve),
            ("Three people write to the list, each in their language and with their key", self.ask),
            ("They confirm by mail", self.confirm),
            ("A fourth, whose key has expired, is refused", self.refuse),
            ("A digest in two languages is sent", self.send_first),
            ("What the mail providers see of it", self.look_outside),
            ("What the readers see, each with their own key", self.look_inside),
            ("GnuPG reads one copy as well", self.ask_gnupg),
            (f"{leaver.name} leaves by mail", self.leave),
            ("The next digest goes to two", self.send_second),
            ("Nobody's address is in the database, nor in anything else that was written", self.search_files),
        )

    # --- Joining ----------------------------------------------------------------------------------------------------

    def make_instance(self) -> None:
        """`mailer init`."""
        self.fingerprint = self.stage.init()
        self.tell(f"$ mailer init {self.stage.instance} --address {LIST} …")
        self.tell(f"The list's key: {grouped(self.fingerprint)}")

    def serve(self) -> None:
        """`mailer serve`, which starts the deliverer beside it."""
        self.stage.serve()
        self.tell(f"$ mailer serve --deliver --instance {self.stage.instance} …")
        self.tell(f"It listens on {HOST}:{self.stage.port}; what it sends goes to {HOST}:{self.stage.mailboxes.port}")

    def ask(self) -> None:
        """Each asks to join, and gets a question that is encrypted to the key that came along."""
        for one in self.readers:
            self.stage.put(f"keys/{one.address}.secret.pgp", one.key.secret)
        wishes = [people.write(one.address, LIST, one.wish, certificate=one.certificate) for one in self.readers]
        for person, answer in zip(self.readers, self.stage.exchange(*wishes), strict=True):
            self.certificate = reading.list_certificate(answer.content, self.fingerprint)
            self._hear(person, person.wish, answer.content)

    def confirm(self) -> None:
        """Each replies to the address in that question, and is welcomed."""
        questions = {one: reading.field(self.letters[one.address], "Reply-To") for one in self.readers}
        replies = [people.write(one.address, to, "Re: [...]") for one, to in questions.items()]
        for person, answer in zip(self.readers, self.stage.exchange(*replies), strict=True):
            self._hear(person, "Re: [...]", answer.content)

    def refuse(self) -> None:
        """A key that nothing may be encrypted to is refused by name."""
        somebody = self.expired
        letter = people.write(somebody.address, LIST, somebody.wish, certificate=somebody.certificate)
        [answer] = self.stage.exchange(letter)
        subject, text = checks.refused(answer.content)
        self.tell(f"{somebody.name} writes “{somebody.wish}”; the answer, in the clear by necessity:")
        self._quote([f"Subject: {subject}", "", *_beginning(text)])

    # --- A digest ---------------------------------------------------------------------------------------------------

    def send_first(self) -> None:
        """`mailer digest new` and `send`: two editions, three copies."""
        self.letters = self._send("first", self.readers)

    def look_outside(self) -> None:
        """One copy as it travels. No copy opens with another reader's key."""
        first, *_ = self.readers
        self._quote([f"Envelope to: {first.address}", "", *reading.outside(self.letters[first.address], SEEN_OUTSIDE)])
        for person in self.readers:
            for other in set(self.readers) - {person}:
                reading.check_closed_to(self.letters[person.address], other.key)
        self.tell("Subject and text are inside. Each copy opens with one reader's key and with nobody else's")

    def look_inside(self) -> None:
        """Each copy decrypted and verified: the protected subject, the text, the edition in the right language."""
        for person in self.readers:
            opened = self._open(person)
            language = person.language if person.language in LANGUAGES else Language.EN
            if opened.subject != subject_of(_source("first", language)) or not opened.has_picture:
                raise DemoFailed(f"A reader of {person.language} got another edition than the one in {language}.")
            self.tell(f"{person.name}: good signature by {grouped(opened.signed_by)}")
            self._quote([f"Subject: {opened.subject}", "", *_beginning(opened.text)])

    def ask_gnupg(self) -> None:
        """The same by another program, where it is installed."""
        first, *_ = self.readers
        if gnupg.is_installed():
            self.tell(gnupg.read_copy(self.letters[first.address], first.key, self.certificate))
        else:
            self.tell("Left out: GnuPG is not installed here")

    # --- Leaving ----------------------------------------------------------------------------------------------------

    def leave(self) -> None:
        """A letter to the address in List-Unsubscribe ends it at once."""
        _, leaver, _ = self.readers
        link = reading.field(self.letters[leaver.address], "List-Unsubscribe")
        address = "".join(link.split()).removeprefix("<mailto:").removesuffix(">")
        [answer] = self.stage.exchange(people.write(leaver.address, address, ""))
        self._hear(leaver, "to the address in List-Unsubscribe", answer.content)

    def send_second(self) -> None:
        """The next digest reaches those who stayed."""
        first, leaver, last = self.readers
        self.letters = self._send("second", (first, last))
        for person in (first, last):
            self.tell(f"{person.name}: good signature; Subject: {self._open(person).subject}")
        checks.sent(self.stage.digests(), [(2, 2), (3, 3)])
        self.tell(f"Two copies went out, none of them to {leaver.name}, of whom nothing is on record any more")

    def search_files(self) -> None:
        """No address stands in any file, while the service runs and once it ended; a planted one is found."""
        addresses = [*(one.address for one in self.readers), self.expired.address]
        checks.nothing_found(self.stage.files(), addresses)
        self.stage.stop()
        checks.nothing_found(files := self.stage.files(), addresses)
        size = sum(path.stat().st_size for path in files)
        self.tell(
            f"Searched while the service ran, and again once it had ended: {len(files)} files, {size // 1024} KiB"
        )
        self.tell(", ".join(sorted(path.name for path in files)))
        forms = checks.search_finds(self.stage.database, self.stage.folder / "planted.db", addresses[0])
        self.tell(f"None of {len(addresses)} addresses is there: {', '.join(forms)}")
        self.tell("Planted in a copy of the database, an address is found in each of these forms")

    # --- What the acts share ----------------------------------------------------------------------------------------

    def _hear(self, person: Person, wrote: str, answer: bytes) -> None:
        opened = reading.open_reply(answer, person.key, self.certificate)
        self.letters[person.address] = answer
        self.tell(f"{person.name} writes: {wrote}. The answer, encrypted and signed: {opened.subject}")

    def _send(self, name: str, to: Sequence[Person]) -> dict[str, bytes]:
        shutil.copy(TEXTS / "lamp.png", self.stage.folder)
        sources = [Path(shutil.copy(_source(name, language), self.stage.folder)) for language in LANGUAGES]
        digest_id, planned = self.stage.digest(*sources)
        self.tell(f"$ mailer digest new {' '.join(source.name for source in sources)} …")
        self.tell(f"$ mailer digest send {digest_id} …")
        copies = checks.delivered(self.stage.wait_for(planned), [one.address for one in to])
        self.tell(f"{len(copies)} copies arrived, one for each who is on the list")
        return copies

    def _open(self, person: Person) -> Opened:
        content = self.letters[person.address]
        opened = reading.open_copy(content, person.key, self.certificate)
        if opened.signed_by != self.fingerprint:
            raise DemoFailed("A copy is signed by another key than the list's.")
        reading.check_silent(content, opened)
        return opened

    def _quote(self, lines: Sequence[str]) -> None:
        for line in lines:
            self.tell(QUOTE + line)


def _beginning(text: str) -> list[str]:
    lines = text.strip("\n").splitlines()
    return lines if len(lines) <= LINES_SHOWN else [*lines[:LINES_SHOWN], "…"]


def subject_of(source: Path) -> str:
    """Return the subject in the front matter of a digest."""
    return next(line for line in source.read_text(encoding="utf-8").splitlines() if line.startswith("subject: "))[9:]


def _source(name: str, language: Language) -> Path:
    return TEXTS / f"{name}.{language}.md"
