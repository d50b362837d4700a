"""mailer panic: destroy everything, now."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import typer

from mailer import config
from mailer.cli import options
from mailer.custody.backup import outside
from mailer.custody.panic import destroy
from mailer.errors import InstanceError, MailerError
from mailer.instance import Instance


def panic(
    yes: options.Yes = False,
    instance_folder: options.InstanceFolder = Path(),
    as_json: options.AsJson = False,
) -> None:
    """Destroy the keys, end whatever runs, and erase the instance. There is no way back but a backup.

    Needs no passphrase. Without --yes it asks twice.
    Example: mailer panic --yes --instance /srv/mailer
    """
    folder = instance_folder.resolve()
    if not (folder / "keys").is_dir():
        raise InstanceError
    if not yes:
        typer.confirm(f"Destroy the keys of {folder}, so that nobody can read anything in it ever again?", abort=True)
        typer.confirm("Really? Without a backup all subscribers are lost.", abort=True)
    instance = _instance(folder)
    url = instance.config.store.url if instance else ""
    elsewhere = bool(url) and not url.startswith("sqlite")
    others = [str(config.named_paths(instance.config)[name]) for name in outside(instance)] if instance else []
    done = destroy(folder, Path(url.partition(":///")[2]) if url and not elsewhere else None)
    if as_json:
        print(json.dumps(asdict(done) | {"elsewhere": elsewhere, "outside": others}))
    else:
        print(f"{done.keys} key files destroyed in {done.keys_s:.2f} s, {done.processes} processes ended, all erased.")
        for sentence in [*map(_in_words, done.backups), *done.left]:
            print(sentence)
        if others:
            print(f"Outside the folder, and as they were: {', '.join(others)}.")
        if elsewhere:
            print("The database is on a server of its own: sealed for ever, but there. Drop it, and its replicas.")
        print("Disks and file systems may keep what was overwritten; where that matters, destroy the disk.")
    if done.left:
        raise typer.Exit(1)


def _instance(folder: Path) -> Instance | None:
    """Return the instance, if its settings can still be read."""
    try:
        return Instance(folder, config.load(folder / "config.toml"))
    except (MailerError, OSError):
        return None


def _in_words(path: str) -> str:
    return f"A backup is still at {path}; whoever has the service passphrase can open it. Erase it."
