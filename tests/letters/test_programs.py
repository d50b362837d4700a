"""What other people's programs make of our letters: GnuPG, Sequoia, RNP and NeoMutt, as a reader has them."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailer.letters import seal
from mailer.model.digest import Edition
from tests.conftest import Gnupg, needs
from tests.letters.conftest import LIST, Keys
from tests.letters.reading import armored, body, read

MakeReply = Callable[..., seal.Sealed]
MakeCopy = Callable[..., seal.Sealed]
SCREEN_WAIT_S = 10


def status_of(reader: Gnupg, *arguments: str, stdin: bytes) -> tuple[bytes, list[str]]:
    """Return gpg's output and status lines; a notation among them may hold any octet."""
    path = reader.home / "lines"
    output = reader.run("--status-file", str(path), "--trust-model", "always", *arguments, stdin=stdin)
    return output, [line.removeprefix("[GNUPG:] ") for line in path.read_text(errors="replace").splitlines()]


def split_signed(entity: bytes) -> tuple[bytes, bytes]:
    """Return the signed bytes and the armored signature of multipart/signed."""
    boundary = re.search(rb'boundary="([0-9a-f]+)"', entity)
    assert boundary
    _, payload, signature, _ = body(entity).split(b"--" + boundary[1])
    return payload[2:-2], body(signature)


def signed_at(status: list[str]) -> datetime:
    (line,) = (line for line in status if line.startswith("VALIDSIG "))
    return datetime.fromtimestamp(int(line.split(" ")[3]), UTC)


def test_gpg_opens_a_reply_and_finds_it_signed_by_the_list(make_reply: MakeReply, reader: Gnupg, now: datetime) -> None:
    plaintext, status = status_of(reader, "--decrypt", stdin=armored(make_reply().content))
    keywords = {line.split(" ")[0] for line in status}
    assert {"DECRYPTION_OKAY", "GOODMDC", "GOODSIG", "VALIDSIG"} <= keywords
    assert any(line.startswith("GOODSIG ") and line.endswith(f"<{LIST}>") for line in status)
    assert abs(signed_at(status) - now).total_seconds() < 3600  # Thunderbird: "Signature Date Mismatch"
    assert read(plaintext)["Subject"] == "Your settings"


def test_gpg_opens_a_copy_and_verifies_its_signature(
    make_copy: MakeCopy, reader: Gnupg, edition: Edition, now: datetime
) -> None:
    plaintext, status = status_of(reader, "--decrypt", stdin=armored(make_copy(padding_chance=0.5).content))
    assert not any(line.startswith(("GOODSIG", "NEWSIG")) for line in status)  # the signature is MIME's, inside
    payload, signature = split_signed(plaintext)
    path = reader.home / "signature"
    path.write_bytes(signature)
    _, status = status_of(reader, "--verify", str(path), "-", stdin=payload)
    assert any(line.startswith("GOODSIG ") and line.endswith(f"<{LIST}>") for line in status)
    assert abs(signed_at(status) - now).total_seconds() < 3600
    root = read(payload)
    assert (root["Subject"], root["From"]) == (edition.subject, LIST)
    with pytest.raises(subprocess.CalledProcessError):
        status_of(reader, "--verify", str(path), "-", stdin=payload.replace(b"zebra", b"Zebra"))


@pytest.mark.parametrize("kind", ["make_reply", "make_copy"])
def test_gpg_lists_one_session_key_and_one_sealed_packet(
    kind: str, request: pytest.FixtureRequest, gnupg: Gnupg
) -> None:
    listing = gnupg.list_packets(armored(request.getfixturevalue(kind)().content))
    packets = re.findall(r"^# off=\d+ ctb=[0-9a-f]+ tag=(\d+) .*?(new-ctb)?$", listing, re.MULTILINE)
    assert packets == [("1", "new-ctb"), ("18", "new-ctb")]
    assert "version 3" in listing
    assert "partial" not in listing


def test_sq_opens_and_verifies_a_reply_and_a_copy(
    make_reply: MakeReply, make_copy: MakeCopy, keys: Keys, tmp_path: Path
) -> None:
    sq = needs("sq")
    secret, public, signature = (tmp_path / name for name in ("secret", "public", "signature"))
    secret.write_bytes(keys.reader_secret)
    public.write_bytes(keys.list_public)
    decrypt, signer = [sq, "decrypt", "--recipient-key", str(secret)], ["--signer-cert", str(public)]
    plain = run([*decrypt, *signer, "--signatures", "1"], armored(make_reply().content))
    assert read(plain)["Subject"] == "Your settings"
    payload, detached = split_signed(run([*decrypt, "--signatures", "0"], armored(make_copy().content)))
    signature.write_bytes(detached)
    run([sq, "verify", *signer, "--detached", str(signature)], payload)


def test_rnp_opens_and_verifies_a_reply_and_a_copy(
    make_reply: MakeReply, make_copy: MakeCopy, keys: Keys, tmp_path: Path
) -> None:
    rnp, rnpkeys = needs("rnp"), needs("rnpkeys")
    home = ["--homedir", str(tmp_path / "rnp")]
    (tmp_path / "rnp").mkdir()
    for name, blob in (("secret", keys.reader_secret), ("public", keys.list_public)):
        (tmp_path / name).write_bytes(blob)
        run([rnpkeys, *home, "--import", str(tmp_path / name)], b"")
    message, plain = tmp_path / "message.asc", tmp_path / "plain"

    def decrypt(letter: seal.Sealed) -> bytes:
        message.write_bytes(armored(letter.content))
        run([rnp, *home, "--password", "", "--overwrite", "--output", str(plain), "--decrypt", str(message)], b"")
        return plain.read_bytes()

    assert read(decrypt(make_reply()))["Subject"] == "Your settings"
    payload, detached = split_signed(decrypt(make_copy()))
    (tmp_path / "payload").write_bytes(payload)
    (tmp_path / "payload.asc").write_bytes(detached)
    run([rnp, *home, "--source", str(tmp_path / "payload"), "--verify", str(tmp_path / "payload.asc")], b"")


@pytest.mark.parametrize(
    ("kind", "subject", "words"),
    [
        ("make_reply", "Your settings", "Zebras are weekly."),
        ("make_copy", "斑馬罷工第十二期", "The zebra strike goes on."),
    ],
)
def test_neomutt_shows_subject_text_and_a_good_signature(
    kind: str, subject: str, words: str, request: pytest.FixtureRequest, reader: Gnupg, tmp_path: Path
) -> None:
    shown = show_in_neomutt(request.getfixturevalue(kind)(), reader, tmp_path)
    assert words in shown
    assert subject in shown
    assert re.search(r"Good signature from.*news@list\.example", shown)
    assert "BAD" not in shown
    assert "." * 20 not in shown  # the padding


def show_in_neomutt(
    letter: seal.Sealed, reader: Gnupg, folder: Path, first: str = "", passphrase: str = "", more: str = ""
) -> str:
    """Return what NeoMutt makes of the letter for its pager. first: functions to call before it is shown.

    passphrase: for when it asks. more: settings that stand below the others.
    """
    neomutt = needs("neomutt")
    mailbox, pages, settings = folder / "mailbox", folder / "pages", folder / "neomuttrc"
    pages.mkdir()
    mailbox.write_bytes(f"From {LIST} Thu Jan  1 00:00:00 1970\n".encode() + letter.content.replace(b"\r\n", b"\n"))
    settings.write_text(
        f"set folder={folder} editor=false crypt_use_gpgme=yes charset=utf-8 wait_key=no\n"
        f"set pager='cp -t {pages}' prompt_after=no\nignore *\nunignore from to date subject\n{more}"
    )
    keystrokes = f"{first}<display-message><exit>"
    command = [neomutt, "-n", "-F", str(settings), "-R", "-f", str(mailbox), "-e", f"push {keystrokes}"]
    environment = {**reader.environment, "TERM": "xterm", "HOME": str(folder), "LC_ALL": "C.UTF-8"}
    master, slave = pty.openpty()
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment) as process:
        os.close(slave)
        try:
            drain(master, passphrase)
        finally:
            process.kill()
            os.close(master)
    (page,) = pages.iterdir()
    return page.read_text(errors="replace")  # Sequoia's signatures carry a salt that is no text


def drain(screen: int, passphrase: str = "") -> None:
    """Read a terminal until its program is gone; type the passphrase where it asks for one."""
    while select.select([screen], [], [], SCREEN_WAIT_S)[0]:
        try:
            shown = os.read(screen, 65_536)
            if not shown:
                return
            if passphrase and b"passphrase:" in shown:
                os.write(screen, f"{passphrase}\r".encode())
        except OSError:  # Linux: EIO once nobody holds the other end
            return
    pytest.fail("neomutt waits for something")


def run(command: list[str], stdin: bytes) -> bytes:
    return subprocess.run(command, input=stdin, capture_output=True, check=True).stdout
