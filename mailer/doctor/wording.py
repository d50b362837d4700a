"""The settings: do they make sense together, and is there wording for every language?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mailer.doctor.files import is_open_to_others
from mailer.doctor.finding import Finding, fault
from mailer.doctor.scene import Scene, is_no_name
from mailer.errors import MailerError, TemplateError
from mailer.letters.write import Wording, templates_folder
from mailer.model.language import Language


def settings(scene: Scene) -> Iterator[Finding]:
    """Is there nothing in config.toml that contradicts itself or leads nowhere?"""
    config = scene.instance.config
    if not config.lists:
        yield fault("There is no list.", "`mailer lists add`")
    if not config.door.listen and config.door.lmtp_socket is None:
        yield fault("The door listens nowhere.", "Set listen or lmtp_socket in [door].")
    if scene.is_reached_from_outside and is_no_name(config.door.hostname):
        yield fault(
            f"The door is open to the world and calls itself {config.door.hostname}.",
            "Set hostname in [door] to this machine's name in the DNS.",
        )
    for one in config.lists:
        if one.contact is not None and one.contact_key is None:
            yield fault(
                f"The list {one.id} has a contact without contact_key, so letters for it are set aside.",
                "Name the file with the contact's certificate in contact_key.",
            )
    yield from _files(scene)


def _files(scene: Scene) -> Iterator[Finding]:
    """Are the files there that config.toml names for signing and logging in?"""
    for name, relay in scene.relays.items():
        for setting, path in (("password_file", relay.password_file), ("ca_file", relay.ca_file)):
            if path is not None and not path.is_file():
                yield fault(f"The {setting} of the relay {name} is not there: {path}.", "Correct its path.")
        try:
            if relay.dkim_key is not None and not is_open_to_others(relay.dkim_key):
                scene.instance.dkim(relay)
        except MailerError as error:
            yield fault(str(error), "`mailer keys dkim` makes a key and says what to set.")


def identities(scene: Scene) -> Iterator[Finding]:
    """Does a relay stand for each identity?"""
    standing = {relay.identity for relay in scene.relays.values()}
    for one in scene.instance.config.lists:
        for each in one.identities:
            if each.name not in standing and scene.relays:
                yield fault(
                    f"No relay stands for the identity {each.name} of the list {one.id}: nothing is sent from it.",
                    f'Write identity = "{each.name}" into the section of a relay that may send for it.',
                )


def templates(scene: Scene) -> Iterator[Finding]:
    """Is there wording for every letter in every language?"""
    shipped = templates_folder()
    for kind in ("open", "sealed"):
        yield from _gaps(shipped / kind, tuple(Language), f"The wording shipped ({kind})", "Install Mailer anew.")
    for one in scene.instance.config.lists:
        if one.templates is None:
            continue
        try:
            Wording(one.templates)
        except TemplateError as error:
            yield fault(f"A wording of your own for the list {one.id}: {error.detail}", "Mend the file that is named.")
        if not one.templates.is_dir():
            yield fault(f"The templates of the list {one.id} are not there: {one.templates}.", "Correct the path.")
        for kind in ("open", "sealed"):
            whose = f"Your wording for the list {one.id}"
            yield from _gaps(one.templates / kind, one.languages, whose, "Write it, or the shipped wording is used.")


def _gaps(folder: Path, languages: tuple[Language, ...], whose: str, do: str) -> Iterator[Finding]:
    there = {language: {path.name for path in (folder / language).glob("*.txt")} for language in languages}
    for name in sorted(set().union(*there.values())):
        missing = [language for language in languages if name not in there[language]]
        if missing:
            yield fault(f"{whose} has no {name} in {', '.join(missing)}.", do)


def typesetter(scene: Scene) -> Iterator[Finding]:
    """Are the fonts and libraries there that PDFs are made with?"""
    from mailer.letters import typeset  # a quarter of a second, which the service's own looks need not

    if packages := typeset.missing():
        yield fault(
            f"PDFs cannot be made, or show empty boxes for Chinese: {', '.join(packages)} is missing.",
            f"apt install {' '.join(packages)}",
        )
