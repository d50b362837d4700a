"""Who can read and write the instance's files, and where passphrases lie."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from mailer.doctor.finding import Finding, fault, unseen
from mailer.doctor.scene import Scene

_OTHERS, _GROUP, _GROUP_WRITES = 0o007, 0o070, 0o020
_UNIT_FOLDERS = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
)
_CREDENTIAL = re.compile(r"^(?:Load|Set)Credential=((?:service|roster)-passphrase):(.*)$", re.MULTILINE)
_PASSPHRASE_OPTION = re.compile(r"--(?:service|roster)-passphrase-file[=\0 ]([^\0\n ]+)")
_BY_HOST = b"Whxqht+dQJax1aZeCGLxm"  # how what `systemd-creds encrypt --with-key=host` writes begins


def modes(scene: Scene) -> Iterator[Finding]:
    """Can only the service's own user read what is secret?"""
    for path in _private(scene):
        yield from _judge(path, _OTHERS | _GROUP)
    for path in _shared(scene):
        yield from _judge(path, _OTHERS)
    for path in _sealed_to(scene):
        yield from _judge(path, _OTHERS | _GROUP_WRITES)
    yield from _owners(scene)


def _private(scene: Scene) -> list[Path]:
    """Files that programs of one user alone read: keys and passwords."""
    instance, config = scene.instance, scene.instance.config
    named = [path for relay in config.all_relays.values() for path in (relay.password_file, relay.dkim_key)]
    named += [seed.imap_password_file for seed in config.seeds]
    return [instance.service_key_path, instance.roster_key_path, *filter(None, named)]


def _shared(scene: Scene) -> list[Path]:
    """What a group of our own may read (docs/operations.md §2), and nobody else."""
    instance = scene.instance
    found = [instance.folder, instance.config_path, instance.folder / "keys", instance.folder / "run"]
    found += [path for path in (instance.config.door.tls_key,) if path is not None]
    if (database := scene.database_file) is not None:
        found += [database, *(database.with_name(database.name + end) for end in ("-wal", "-shm"))]
    return found


def _sealed_to(scene: Scene) -> list[Path]:
    """What a group may read and not write: whoever can write to one has letters and records sealed to himself."""
    return sorted((scene.instance.folder / "keys").glob("*.pub"))


def _judge(path: Path, forbidden: int) -> Iterator[Finding]:
    try:
        status = path.stat()
    except FileNotFoundError:
        return
    mode = stat.S_IMODE(status.st_mode)
    if mode & forbidden:
        wanted = mode & ~forbidden & 0o7777
        who = "Everybody on this machine" if mode & _OTHERS else "A group"
        yield fault(f"{who} can read {path}, or write to it (mode {mode:o}).", f"chmod {wanted:o} {path}")


def is_open_to_others(path: Path) -> bool:
    """Whether a file that is one user's alone can be read by others: then it is not used, and `modes` names it."""
    try:
        return bool(path.stat().st_mode & (_OTHERS | _GROUP))
    except OSError:
        return False


def _owners(scene: Scene) -> Iterator[Finding]:
    """Whoever may write to keys/ can have letters sealed to himself; whoever cannot read a key cannot start."""
    with suppress(FileNotFoundError):
        owner = (scene.instance.folder / "run").stat().st_uid
        for path in (scene.instance.service_key_path, scene.instance.roster_key_path):
            if path.exists() and path.stat().st_uid != owner:
                yield fault(
                    f"{path} belongs to another user than run/, whom the service runs as.", f"chown {owner} {path}"
                )
    database = scene.database_file
    if database is not None and database.exists() and not os.access(database, os.R_OK | os.W_OK):
        yield fault(
            f"This user cannot read and write {database}.", "Run this as the service's user, or chown the file."
        )


def passphrases(scene: Scene) -> Iterator[Finding]:
    """Does a passphrase lie on a disk, where a copied or switched-off machine tells it?"""
    advice = "Give it by `mailer unlock`, or bind it to the TPM: docs/operations.md, section 3."
    for path, where in sorted({*_in_units(scene), *_on_command_lines(scene)}):
        if path == Path("-"):
            yield fault(f"{where} holds a passphrase in the clear.", advice)
        elif not scene.is_in_memory(path):
            yield fault(f"A passphrase is read from {path} ({where}), which lies on a disk.", advice)
    for folder in ("/etc/mailer", "/etc/credstore.encrypted"):
        try:
            yield from _credentials(scene, folder, advice)
        except PermissionError:
            yield unseen(f"This user cannot look into {folder}, where credentials lie.", "Run this as root.")


def _credentials(scene: Scene, folder: str, advice: str) -> Iterator[Finding]:
    """Raises PermissionError; `glob` would find nothing in a folder that cannot be read, and `scene.read` "" there."""
    try:
        names = sorted(entry.name for entry in os.scandir(scene.at(folder)) if "-passphrase" in entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in names:
        content = scene.at(f"{folder}/{name}").read_bytes()
        if content.lstrip().startswith(_BY_HOST):
            yield fault(
                f"{folder}/{name} is encrypted with a key that lies on the same disk.", f"{advice} (--with-key=tpm2)"
            )


def _in_units(scene: Scene) -> Iterator[tuple[Path, str]]:
    for folder in _UNIT_FOLDERS:
        found = scene.at(folder)
        for unit in sorted([*found.glob("mailer*.service"), *found.glob("mailer*.service.d/*.conf")]):
            text = unit.read_text(encoding="utf-8", errors="replace")
            where = f"{folder}/{unit.relative_to(found)}"
            for line, (_, value) in zip(_CREDENTIAL.finditer(text), _CREDENTIAL.findall(text), strict=True):
                if line[0].startswith("Set"):
                    yield Path("-"), where
                elif value.startswith("/"):
                    yield Path(value), where
                elif value and scene.at(f"/etc/credstore/{value}").exists():  # systemd.exec(5): where a bare name is
                    yield Path(f"/etc/credstore/{value}"), where
            yield from ((Path(named), where) for named in _PASSPHRASE_OPTION.findall(text))


def _on_command_lines(scene: Scene) -> Iterator[tuple[Path, str]]:
    folder = str(scene.instance.folder.resolve())
    for path in scene.at("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().decode(errors="replace")
        except OSError:
            continue  # it has ended, or is somebody else's
        words = line.split("\0")
        if not {"serve", "work"} & set(words) or folder not in {str(_whole(scene, path, word)) for word in words}:
            continue
        for named in _PASSPHRASE_OPTION.findall(line):
            yield _whole(scene, path, named), "on the command line of the running service"


def _whole(scene: Scene, cmdline: Path, word: str) -> Path:
    """Return a path of a process's command line, made whole by the folder it runs in."""
    with suppress(OSError, ValueError):
        return Path(os.path.normpath(cmdline.with_name("cwd").readlink() / word.removeprefix("--instance=")))
    return Path(word)
