"""How readers open the forms in which letters of ours come, one function for each."""

from __future__ import annotations

import subprocess
import tempfile
from email import message_from_bytes, policy
from email.message import EmailMessage
from enum import StrEnum
from pathlib import Path

import pysequoia

from tests.conftest import needs

BEGIN, END = b"-----BEGIN PGP MESSAGE-----", b"-----END PGP MESSAGE-----"


class Form(StrEnum):
    """In which form a letter lies in a mailbox."""

    CLEAR = "in clear"
    MAIL = "as PGP/MIME"
    TEXT = "as text"
    FILE = "as a file"
    PDF = "as a PDF"
    SMIME = "as S/MIME"


def parse(content: bytes) -> EmailMessage:
    return message_from_bytes(content, policy=policy.SMTP)  # type: ignore[return-value]


def form_of(content: bytes) -> Form:
    """Return the form, held strictly: what looks like none of the sealed ones is in clear."""
    message = parse(content)
    if message.get_content_type() == "multipart/encrypted":
        return Form.MAIL
    if message.get_content_type() == "application/pkcs7-mime" and message.get_param("smime-type") == "enveloped-data":
        return Form.SMIME
    if message.get_content_type() == "text/plain" and content.partition(b"\r\n\r\n")[2].startswith(BEGIN):
        return Form.TEXT
    files = [part for part in message.walk() if part.get_content_disposition() == "attachment"]
    names = {file.get_filename(): file for file in files}
    if "message.txt.asc" in names and names["message.txt.asc"].get_content().startswith(BEGIN):
        return Form.FILE
    return Form.PDF if "message.pdf" in names and b"/Encrypt" in names["message.pdf"].get_content() else Form.CLEAR


def open_pgp(content: bytes, key: pysequoia.Tsk) -> EmailMessage:
    """Return what a key opens: a message, or one made of the text (its first line is the subject)."""
    form = form_of(content)
    assert form in (Form.MAIL, Form.TEXT, Form.FILE), form
    armored = content[content.index(BEGIN) : content.index(END)] + END + b"\r\n"
    plain = pysequoia.decrypt(armored, key.decryptor()).bytes
    assert plain is not None
    return parse(plain) if form is Form.MAIL else _message_of(plain.decode())


def open_smime(content: bytes, key: bytes, authorities: bytes) -> EmailMessage:
    """Return what a key opens, as OpenSSL does. key and authorities: PEM. Raises CalledProcessError."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("key", "authorities")]
        for path, pem in zip(paths, (key, authorities), strict=True):
            path.write_bytes(pem)
        openssl = [needs("openssl"), "cms"]
        opened = subprocess.run(
            [*openssl, "-decrypt", "-recip", str(paths[0])], input=content, capture_output=True, check=True
        ).stdout
        verify = [*openssl, "-verify", "-CAfile", str(paths[1])]
        return parse(subprocess.run(verify, input=opened, capture_output=True, check=True).stdout)


def open_pdf(content: bytes, words: str) -> EmailMessage:
    """Return what five words open, as poppler shows it. Raises CalledProcessError for other words."""
    assert form_of(content) is Form.PDF
    [file] = [part for part in parse(content).walk() if part.get_filename() == "message.pdf"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "message.pdf"
        path.write_bytes(file.get_content())
        command = [needs("pdftotext"), "-enc", "UTF-8", "-upw", words, str(path), "-"]
        return _message_of(subprocess.run(command, capture_output=True, check=True).stdout.decode().lstrip())


def _message_of(text: str) -> EmailMessage:
    message = EmailMessage(policy=policy.SMTP)
    message["Subject"], _, rest = text.replace("\r\n", "\n").partition("\n")
    message.set_content(rest.strip() + "\n")
    return message
