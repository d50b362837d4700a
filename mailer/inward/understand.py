"""What a letter asks for. Pure: the same letter always means the same.

The address it was sent to speaks first, and alone; then the subject, then the first lines that the writer wrote, which
may be several commands (inward/several). What is no command is CONTACT: a letter for a person.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from mailer.crypto import tokens
from mailer.errors import BadAddress
from mailer.inward import coded, several, verbs
from mailer.inward.quoting import Own, read_own
from mailer.inward.verbs import Phrase, Tokens
from mailer.model.address import Address
from mailer.model.command import Command, Verb
from mailer.model.language import Language
from mailer.model.letter import Letter

LONGEST_LINE = 500
MOST_COMMANDS = 10  # in one letter
CHARACTERS_LOOKED_AT = 2000  # enough to tell the script

_TOKEN = re.compile(rf"(?<![a-z0-9])[a-z2-7]{{{tokens.TOKEN_BYTES * 8 // 5}}}(?![a-z0-9])")
_CONFIRM = re.compile("confirm|確認|确认")
_CONFIRM_TOKEN = re.compile(rf"(?:{_CONFIRM.pattern})\W{{0,3}}({_TOKEN.pattern})")
# Whole words first; then, for 更改地址new@example.org without a space, what is ASCII of them.
_ADDRESSES = (re.compile(r"[^\s<>(),;:]+@[^\s<>(),;:]+"), re.compile(r"[\w.+!#$%&*/=?^`{|}~-]+@[\w.-]+", re.ASCII))
_REPLY = r"re|aw|sv|antw|回复|回覆|回復|答复|答覆|回信"
_FORWARD = r"fwd?|wg|tr|转发|轉發|轉寄|转寄|轉送"
_PREFIX = re.compile(
    rf"\s*(?:(?P<forward>{_FORWARD})|{_REPLY})\s*(?:[\[(]\d+[\])])?\s*:|\s*[\[【](?:external|外部邮件|外部郵件)[\]】]",
    re.IGNORECASE,
)
_PEOPLE = frozenset({"owner", "contact"})
_WITH_CODE = frozenset({"join", "subscribe"})
_WITH_TOKEN = {
    "confirm": Verb.CONFIRM,
    "unsubscribe": Verb.UNSUBSCRIBE,
    "bounce": Verb.BOUNCE,
    "probe": Verb.BOUNCE,
}
_ENGLISH = verbs.read_words(
    "the, and, you, your, please, hello, thanks, what, how, want, with, this, that, have, are, is"
)


class Source(StrEnum):
    """Where a command was found."""

    ADDRESS = "address"
    SUBJECT = "subject"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Asked:
    """A command, where it stood, and whether the words of it are covered by `letter.signed_by`."""

    command: Command
    source: Source
    is_signed: bool


def understand(letter: Letter, detail: str, own: Address) -> Asked:
    """Return what `letter` asks of the list at `own`. detail: what stands behind `+` in its recipient, lower case."""
    reading = _Reading(letter, own)
    found = {
        Source.ADDRESS: reading.address(detail),
        Source.SUBJECT: reading.subject(),
        Source.TEXT: reading.text(),
    }
    source, command = next(((source, command) for source, command in found.items() if command), (Source.TEXT, None))
    if (command is None or command.verb is Verb.SUBSCRIBE) and (code := reading.code()) is not None:
        language = command.language if command else None
        return Asked(Command(Verb.JOIN_BY_CARD, token=code, language=language), source, is_signed=False)
    if command is None:
        command = Command(Verb.CONTACT, language=guess_language(letter))
        return Asked(command, source, letter.signed_by is not None)
    block = reading.block()
    signed = [found[Source.TEXT], *block] if letter.signed_by else []
    if letter.signed_by and letter.subject_is_signed:
        signed.append(found[Source.SUBJECT])
    if source is not Source.ADDRESS:
        subject = found[Source.SUBJECT]
        command = several.join([*([subject] if subject else []), *block] or [command])
    said = command.language or next((other.language for other in found.values() if other and other.language), None)
    command = replace(command, language=said or guess_language(letter))
    return Asked(command, source, all(_is_among(part, signed) for part in several.parts(command)))


def guess_language(letter: Letter) -> Language | None:
    """Return the language in which the writer's own words are, None where they do not say."""
    text = " ".join((letter.subject, *read_own(letter.text).lines))[:CHARACTERS_LOOKED_AT]
    script = _guess_script(text)
    if script or any(map(_is_han, text)):
        return script
    return Language.EN if any((word,) in _ENGLISH for word in verbs.tokenise(text)) else None


class _Reading:
    """One letter on its way through: each method returns the command that one place holds, or None."""

    def __init__(self, letter: Letter, own: Address) -> None:
        self.letter = letter
        self.own: Own = read_own(letter.text)
        self.list_address = own
        self.own_words = frozenset({verbs.tokenise(own.local)})
        subject = letter.subject if len(letter.subject) <= LONGEST_LINE else ""
        self.title, self.is_reply, self.is_forward = _strip_prefixes(subject)

    def address(self, detail: str) -> Command | None:
        kind, dash, rest = detail.partition("-")
        if kind in _WITH_TOKEN and (dash or kind == "bounce"):
            return Command(_WITH_TOKEN[kind], token=tokens.read_token(rest))
        if kind in _WITH_CODE and (code := coded.read_detail(rest)) is not None:
            return Command(Verb.JOIN_BY_CARD, token=code)
        if detail in _PEOPLE:
            return Command(Verb.CONTACT)
        command = self._read(detail) if detail else None
        if command is None or command.verb is Verb.SET_LANGUAGE or not detail.isascii():
            return command
        return replace(command, language=None)  # everybody writes to the same address, whatever their language

    def subject(self) -> Command | None:
        if self.is_forward and self.own.has_quote:
            return None
        command = self._read(self.title)
        token = _CONFIRM_TOKEN.search(self.title.casefold())
        if token:
            return command or Command(Verb.CONFIRM, token=token[1])
        if command and (self.is_reply or self.is_forward or command.verb is Verb.HELP) and self._has_other_words():
            # An older letter's subject, or a cry for help: then what is said below is what is meant.
            return None
        return command

    def text(self) -> Command | None:
        lines = (line for line in self.own.lines if not self._is_greeting(line))
        return self._read(next(lines, ""))

    def code(self) -> str | None:
        return coded.find_code((_plain(line) for line in (self.title, *self.own.lines)), self.own_words)

    def block(self) -> list[Command]:
        """Return the commands with which the writer's words begin: to the end of the paragraph, and those that follow.

        A line among them that is none makes all of it UNCLEAR; behind a single command it is a signature.
        """
        commands: list[Command] = []
        for number, paragraph in enumerate(self._paragraphs()):
            read = [self._read(line) for line in paragraph]
            if read[0] is None or (number and (None in read or len(commands) + len(read) > MOST_COMMANDS)):
                break
            commands += [command for command in read if command]
            if None in read:
                return [Command(Verb.UNCLEAR, language=commands[0].language)] if len(commands) > 1 else commands
        return commands if len(commands) <= MOST_COMMANDS else [Command(Verb.UNCLEAR)]

    def _paragraphs(self) -> Iterator[list[str]]:
        paragraph: list[str] = []
        for number, line in enumerate(self.own.lines):
            if number in self.own.breaks and paragraph:
                yield paragraph
                paragraph = []
            if not self._is_greeting(line):
                paragraph.append(line)
        if paragraph:
            yield paragraph

    def _has_other_words(self) -> bool:
        return any(not self._is_greeting(line) for line in self.own.lines) and self.text() != self._read(self.title)

    def _is_greeting(self, line: str) -> bool:
        return verbs.is_greeting(verbs.tokenise(line)[: verbs.LONGEST_LINE + 1], self.own_words)

    def _read(self, line: str) -> Command | None:
        if len(line) > LONGEST_LINE:
            return None
        line = _plain(line)
        for pattern in _ADDRESSES:
            addresses, rest = self._take_addresses(line, pattern)
            command = self._command(rest, addresses)
            if command:
                return command
        return None

    def _take_addresses(self, line: str, pattern: re.Pattern[str]) -> tuple[list[Address], str]:
        addresses = []
        for match in pattern.finditer(line):
            try:
                address = Address.parse(match[0].strip(".,;:!?'\"*。，；：！？、「」『』“”‘’"))
            except BadAddress:
                continue
            line = line.replace(match[0], " ", 1)
            if address.split_detail()[0].normalised != self.list_address.normalised and address not in addresses:
                addresses.append(address)
        others = [address for address in addresses if address.normalised != self.letter.sender.normalised]
        return others, line

    def _command(self, line: str, addresses: list[Address]) -> Command | None:
        folded = line.casefold()
        token = _TOKEN.search(folded)
        if token:
            folded = folded.replace(token[0], " ")
        words = verbs.tokenise(folded)
        phrase = verbs.find_phrase(words, self.own_words)
        if phrase is None:
            return None
        verb = self._verb(phrase)
        language = self._language(phrase, words)
        if token:
            verb = Verb.CONFIRM if _CONFIRM.search(folded) else verb
            is_welcome = verb in (Verb.CONFIRM, Verb.UNSUBSCRIBE) and not addresses
            return Command(verb, token=token[0], language=language) if is_welcome else None
        if verb is Verb.CHANGE_ADDRESS and len(addresses) == 1:
            return Command(verb, language=language, new_address=addresses[0])
        if addresses:  # it is about somebody else, and nobody acts for another
            return None
        is_half = (verb is Verb.SET_LANGUAGE and language is None) or (verb is Verb.SET_FORMAT and not phrase.format)
        if verb is Verb.CHANGE_ADDRESS or is_half:
            return Command(Verb.HELP, language=language)
        if verb is Verb.SET_FORMAT:
            return Command(verb, language=language, format=phrase.format)
        return Command(verb, language=language)

    def _verb(self, phrase: Phrase) -> Verb:
        if len(phrase.verbs) > 1:
            return Verb.SET_KEY if self.letter.offered else Verb.GET_KEY
        return next(iter(phrase.verbs))

    def _language(self, phrase: Phrase, words: Tokens) -> Language | None:
        if phrase.wanted:
            return phrase.wanted
        line = "".join(words)
        is_mixed = phrase.languages == {Language.EN} and any(map(_is_han, line))
        if len(phrase.languages) == 1 and not is_mixed and not phrase.names_chinese:
            return next(iter(phrase.languages))
        script = _guess_script(line) or guess_language(self.letter)
        return None if phrase.names_chinese and script is Language.EN else script


def _is_among(command: Command, others: Iterable[Command | None]) -> bool:
    return any(_is_same(command, other) for other in others)


def _is_same(command: Command, other: Command | None) -> bool:
    """Whether both ask for the same thing; in which language the answer comes does not matter, unless it is asked."""
    if other is None or replace(command, language=other.language) != other:
        return False
    return command.verb is not Verb.SET_LANGUAGE or command.language is other.language


def _strip_prefixes(subject: str) -> tuple[str, bool, bool]:
    """Return the subject without `Re:` and its relatives, and whether it was a reply, a forward."""
    subject = _plain(subject)
    is_reply = is_forward = False
    while match := _PREFIX.match(subject):
        is_forward = is_forward or bool(match["forward"])
        is_reply = is_reply or (":" in match[0] and not match["forward"])
        subject = subject[match.end() :]
    return subject.strip(), is_reply, is_forward


def _plain(line: str) -> str:
    """Full-width forms become ordinary ones (NFKC): ：＠Ａ mean what they stand for. A mailto: link is its text."""
    return re.sub(r"<?mailto:", " ", unicodedata.normalize("NFKC", line), flags=re.IGNORECASE)


def _guess_script(text: str) -> Language | None:
    """Return the Chinese script of `text` by the characters that only one of the two has, None if they do not tell."""
    traditional = sum(_is_in(char, "big5hkscs") and not _is_in(char, "gb2312") for char in text if _is_han(char))
    simplified = sum(_is_in(char, "gb2312") and not _is_in(char, "big5") for char in text if _is_han(char))
    if traditional == simplified:
        return None
    return Language.ZH_HANT if traditional > simplified else Language.ZH_HANS


def _is_in(char: str, charset: str) -> bool:
    """GB 2312 was made for the simplified script, Big5 for the traditional: each lacks what only the other writes."""
    return bool(char.encode(charset, "ignore"))


def _is_han(char: str) -> bool:
    return "\u3400" <= char <= "\u9fff"
