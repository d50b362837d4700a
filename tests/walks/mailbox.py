"""Mailboxes to look into: a real Dovecot in a temporary folder, and a server that says whatever a test wants."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import trustme

from tests.conftest import needs

USER, PASSWORD = "organiser", 'a password with "quotes" and \\'
START_S = 20.0

_COMMON = """
base_dir = {folder}/run
state_dir = {folder}/run
log_path = {folder}/log
listen = 127.0.0.1
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
first_valid_uid = 1
first_valid_gid = 1
ssl = required
service imap-login {{
  chroot =
  inet_listener imap {{
    port = 0
  }}
  inet_listener imaps {{
    port = {port}
    ssl = yes
  }}
}}
service anvil {{
  chroot =
}}
namespace inbox {{
  inbox = yes
  separator = /
  mailbox "Bin for junk" {{
    special_use = \\Junk
    auto = create
  }}
  mailbox Archive {{
    auto = create
  }}
}}
"""
_TWO_THREE = """
protocols = imap
mail_location = maildir:{folder}/mail:LAYOUT=fs
ssl_cert = <{folder}/chain.pem
ssl_key = <{folder}/key.pem
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {folder}/users
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={folder}
}}
"""
_TWO_FOUR = """
dovecot_config_version = 2.4.0
dovecot_storage_version = 2.4.0
protocols = imap
mail_driver = maildir
mail_path = {folder}/mail
mailbox_list_layout = fs
ssl_server_cert_file = {folder}/chain.pem
ssl_server_key_file = {folder}/key.pem
passdb passwd-file {{
  passwd_file_path = {folder}/users
  default_password_scheme = PLAIN
}}
userdb static {{
  fields {{
    uid = {uid}
    gid = {gid}
    home = {folder}
  }}
}}
"""


@dataclass(frozen=True)
class Dovecot:
    """A running server with one mailbox. ca: the file of its authority."""

    folder: Path
    port: int
    ca: Path

    def put(self, message_id: str, came: datetime, folder: str = "") -> None:
        """Put a letter into a folder, "" for the inbox."""
        place = self.folder / "mail" / folder / "cur"
        place.mkdir(parents=True, exist_ok=True)
        path = place / f"{came.timestamp():.0f}.{len(list(place.iterdir()))}.test:2,"
        path.write_bytes(b"From: <news@lists.example>\r\nMessage-ID: " + message_id.encode() + b"\r\n\r\nText.\r\n")
        os.utime(path, (came.timestamp(), came.timestamp()))
        for one in (path, *path.parents[: len(place.relative_to(self.folder).parts)]):
            _give(one)


@contextmanager
def dovecot() -> Iterator[Dovecot]:
    """Run a Dovecot; its folder is readable by the user that it runs as, so it is no fixture's."""
    program = needs("dovecot")
    folder = Path(tempfile.mkdtemp(prefix="dovecot-", dir="/tmp"))
    folder.chmod(0o755)
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    port, authority = _free_port(), trustme.CA()
    _write_certificate(folder, authority)
    (folder / "users").write_text(f"{USER}:{{PLAIN}}{PASSWORD}::::::\n")
    (folder / "mail").mkdir()
    user = _user()
    facts = {"folder": folder, "port": port, "user": user.pw_name, "uid": user.pw_uid, "gid": user.pw_gid}
    facts["group"] = subprocess.run(
        ["id", "-gn", user.pw_name], capture_output=True, text=True, check=True
    ).stdout.strip()
    text = (_TWO_THREE + _COMMON) if version.startswith("2.3") else (_TWO_FOUR + _COMMON)
    (folder / "dovecot.conf").write_text(text.format(**facts))
    for one in (folder, *folder.iterdir()):
        _give(one)
    server = subprocess.Popen([program, "-F", "-c", str(folder / "dovecot.conf")], stderr=subprocess.PIPE)
    try:
        _wait_for(port, server, folder)
        yield Dovecot(folder, port, folder / "ca.pem")
    finally:
        server.terminate()
        server.communicate(timeout=START_S)
        shutil.rmtree(folder, ignore_errors=True)


def _user() -> pwd.struct_passwd:
    """Dovecot refuses to read mail as root."""
    return pwd.getpwuid(os.getuid()) if os.getuid() else pwd.getpwnam("nobody")


def _give(path: Path) -> None:
    if not os.getuid():
        os.chown(path, _user().pw_uid, _user().pw_gid)


def _write_certificate(folder: Path, authority: trustme.CA) -> None:
    issued = authority.issue_cert("127.0.0.1", "localhost")
    (folder / "chain.pem").write_bytes(b"".join(one.bytes() for one in issued.cert_chain_pems))
    (folder / "key.pem").write_bytes(issued.private_key_pem.bytes())
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _wait_for(port: int, server: subprocess.Popen[bytes], folder: Path) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until and server.poll() is None:
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    log = folder / "log"
    raise AssertionError(f"Dovecot does not start: {log.read_text() if log.exists() else server.poll()}")


@dataclass
class ScriptedImap:
    """An IMAP server that answers each command with the next of some lines; TAG stands for the command's tag."""

    answers: Sequence[bytes]
    greeting: bytes = b"* OK ready\r\n"
    commands: list[bytes] = field(default_factory=list)

    async def __aenter__(self) -> ScriptedImap:
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._open.values():
            writer.transport.abort()
        await asyncio.gather(*self._open)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = writer
        try:
            writer.write(self.greeting)
            for answer in self.answers:
                line = await reader.readline()
                if not line:
                    return
                self.commands.append(line)
                writer.write(answer.replace(b"TAG", line.split(b" ")[0]))
                await writer.drain()
            await reader.read()
        except ConnectionError:
            return
        finally:
            writer.close()
