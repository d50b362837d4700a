"""Where the demonstration plays: a folder of its own, an instance in it, the service, and the readers' mail server."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import smtplib
import tempfile
from contextlib import ExitStack
from email.message import EmailMessage
from pathlib import Path
from types import TracebackType

from mailer.demo import program
from mailer.demo.mailbox_server import HOST, MailboxServer, Received
from mailer.demo.program import Service
from mailer.errors import DemoFailed

LIST = "news@campaign.example"
MAIL_WITHIN_S = 20.0
STATUS_ASKED = 5


class Stage:
    """A context manager: at its end no process is left, and unless it is kept, no file."""

    def __init__(self, *, keep: bool = False) -> None:
        try:
            self.folder = Path(tempfile.mkdtemp(prefix="mailer-demo-"))
        except OSError as error:
            raise DemoFailed(f"There is nowhere to make a temporary folder ({error.strerror}).") from error
        self.mailboxes = MailboxServer()
        self.service: Service | None = None
        self.port = 0
        self._awaited = 0
        self._keep = keep
        self._stack = ExitStack()

    def __enter__(self) -> Stage:
        if not self._keep:
            self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        try:
            self._stack.enter_context(self.mailboxes)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def instance(self) -> Path:
        """The folder of the instance."""
        return self.folder / "instance"

    @property
    def database(self) -> Path:
        """The database's file."""
        return self.instance / "mailer.db"

    @property
    def log(self) -> Path:
        """What the service wrote."""
        return self.folder / "service.log"

    def init(self) -> str:
        """Make the instance with one list; return the fingerprint of the list's key. Raises DemoFailed."""
        for which in ("service", "roster"):
            path = self._passphrase_file(which)
            path.touch(mode=0o600)
            path.write_text(secrets.token_urlsafe(24) + "\n", encoding="ascii")
        files = (*self._passphrase_option("service"), *self._passphrase_option("roster"))
        printed = program.run("init", str(self.instance), "--address", LIST, *files, cwd=self.folder)
        found = re.search(r"Its key: ([0-9A-F ]+)", printed)
        if found is None:
            raise DemoFailed("`mailer init` does not say which key the list has.")
        self._set("listen = [", f'listen = ["{HOST}:0"]')
        self._set('host = "', f'host = "{HOST}"')
        self._set("port = ", f"port = {self.mailboxes.port}")
        self._set('tls = "', 'tls = "none"')
        return found[1].replace(" ", "").lower()

    def serve(self) -> None:
        """Start the service with its deliverer, and wait until it listens. Raises DemoFailed."""
        passphrases = (*self._passphrase_option("service"), *self._passphrase_option("roster"))
        service = Service("--deliver", *self._instance_option(), *passphrases, cwd=self.folder, log=self.log)
        self.service = self._stack.enter_context(service)
        self.port = service.port()

    def stop(self) -> None:
        """End the service. Raises DemoFailed where it does not end in good order, or sent more than was awaited."""
        if self.service is not None and (code := self.service.stop()) != 0:
            raise DemoFailed(f"The service ended with {code}.")
        if (came := len(self.mailboxes.letters)) != self._awaited:
            raise DemoFailed(f"{came} letters were sent in all, and {self._awaited} were awaited.")

    def send(self, letter: EmailMessage) -> None:
        """Hand a letter to the door by SMTP. Raises DemoFailed if it is not taken."""
        try:
            with smtplib.SMTP(HOST, self.port, "client.example", timeout=MAIL_WITHIN_S) as client:
                client.send_message(letter)
        except smtplib.SMTPResponseException as error:
            raise DemoFailed(f"The door answers {error.smtp_code} to a letter.") from None
        except (OSError, smtplib.SMTPException) as error:
            raise DemoFailed(f"The door does not take a letter ({type(error).__name__}).") from None

    def exchange(self, *letters: EmailMessage) -> list[Received]:
        """Send letters and return the answers, one to each, in the order of the letters. Raises DemoFailed."""
        for letter in letters:
            self.send(letter)
        came = self.wait_for(len(letters))
        answers = {one.recipient: one for one in came}
        writers = [str(letter["From"]) for letter in letters]
        if sorted(writers) != sorted(one.recipient for one in came):
            raise DemoFailed("An answer went to somebody else than the one who wrote.")
        return [answers[writer] for writer in writers]

    def digest(self, *sources: Path) -> tuple[str, int]:
        """Make a digest of one file for each language and send it; return its id and to how many it goes."""
        paths = [str(path) for path in sources]
        made = json.loads(self._desk("new", *paths, "--json"))
        sent = json.loads(self._desk("send", made["id"], "--no-wait", "--json"))
        return str(made["id"]), int(sent["planned"])

    def digests(self) -> list[dict[str, object]]:
        """Return what became of all digests, newest first, once none of them has a delivery left. Raises DemoFailed."""
        for _ in range(STATUS_ASKED):  # the last copy arrives a moment before its delivery is settled
            found: list[dict[str, object]] = json.loads(
                program.run("digest", "list", "--json", *self._instance_option(), cwd=self.folder)
            )
            if all(one["state"] == "sent" for one in found):
                return found
        raise DemoFailed("A digest is not said to be sent, although its copies came.")

    def files(self) -> list[Path]:
        """Return every file of the instance, the database's journal too, and the service's log."""
        return [*sorted(path for path in self.instance.rglob("*") if path.is_file()), self.log]

    def put(self, name: str, content: bytes) -> Path:
        """Write a file that is for the user's eyes, should the folder be kept."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return path

    def wait_for(self, count: int) -> list[Received]:
        """Return the next so many letters that arrive. Raises DemoFailed if they do not in time."""
        self._awaited += count
        came = self.mailboxes.wait_for(self._awaited, MAIL_WITHIN_S)[-count:]
        for number, one in enumerate(came, self._awaited - count + 1):
            self.put(f"letters/{number:02d}-{one.recipient}.eml", one.content)
        return came

    def _desk(self, verb: str, *arguments: str) -> str:
        options = (*self._instance_option(), *self._passphrase_option("service"))
        return program.run("digest", verb, *arguments, *options, cwd=self.folder)

    def _instance_option(self) -> tuple[str, str]:
        return "--instance", str(self.instance)

    def _passphrase_option(self, which: str) -> tuple[str, str]:
        return f"--{which}-passphrase-file", str(self._passphrase_file(which))

    def _passphrase_file(self, which: str) -> Path:
        return self.folder / f"{which}-passphrase"

    def _set(self, begins: str, line: str) -> None:
        """Change the first line of config.toml that begins so: [door] and [relay] come first in it."""
        path = self.instance / "config.toml"
        text, count = re.subn(rf"(?m)^{re.escape(begins)}.*$", line, path.read_text(encoding="utf-8"), count=1)
        if count != 1:
            raise DemoFailed("config.toml is not the one that comes with Mailer.")
        path.write_text(text, encoding="utf-8")
