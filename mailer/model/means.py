"""What a letter to one person is sealed with, and in which way. Without it nothing is sent."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mailer.model.certificate import Certificate
from mailer.model.subscriber import Drawer, Format, Method


@dataclass(frozen=True, slots=True)
class OpenPgp:
    """An OpenPGP key. certificate: binary, minimal. format: any but PDF."""

    certificate: bytes
    format: Format = Format.PGP_MIME

    def __post_init__(self) -> None:
        if self.format is Format.PDF:
            raise ValueError("a PDF is sealed with a passphrase")

    def __repr__(self) -> str:
        return "OpenPgp(…)"


@dataclass(frozen=True, slots=True)
class Smime:
    """An X.509 certificate, DER."""

    certificate: bytes

    def __repr__(self) -> str:
        return "Smime(…)"


@dataclass(frozen=True, slots=True)
class Passphrase:
    """The words that open an encrypted PDF."""

    words: str

    def __repr__(self) -> str:
        return "Passphrase(…)"


Means = OpenPgp | Smime | Passphrase


def means_of(method: Method, drawer: Drawer) -> Means | None:
    """Return what a subscriber's letters are sealed with; None where that is missing: then nothing may be sent.

    Whether a certificate can be used today is another question (letters.seal.is_usable).
    """
    match method:
        case Method.OPENPGP:
            return OpenPgp(drawer.certificate, pgp_format(drawer)) if drawer.certificate else None
        case Method.SMIME:
            return Smime(drawer.x509) if drawer.x509 else None
        case Method.PDF:
            return Passphrase(drawer.passphrase) if drawer.passphrase else None


def means_of_key(key: Certificate, drawer: Drawer | None = None) -> Means:
    """Return what a letter is sealed with that only the holder of `key` shall read, in the form asked for before."""
    if key.is_x509:
        return Smime(key.blob)
    return OpenPgp(key.blob, pgp_format(drawer or Drawer()))


def with_key(method: Method, drawer: Drawer, key: Certificate) -> tuple[Method, Drawer]:
    """Return method and drawer once a key is put on file; it replaces any other.

    Who had a key and wants PDFs all the same goes on getting them; to who had none, it takes the passphrase's place.
    """
    certificate, x509 = (b"", key.blob) if key.is_x509 else (key.blob, b"")
    held = replace(drawer, certificate=certificate, fingerprint=key.fingerprint, x509=x509)
    if method is Method.PDF and (drawer.certificate or drawer.x509):
        return method, held
    return Method.SMIME if key.is_x509 else Method.OPENPGP, replace(held, format=pgp_format(held))


def without_key(method: Method, drawer: Drawer) -> tuple[Method, Drawer]:
    """Return method and drawer once the key on file was revoked; a passphrase stays what it is."""
    return method, replace(drawer, certificate=b"", fingerprint="", x509=b"")


def with_format(drawer: Drawer, wanted: Format, new_words: str) -> tuple[Method, Drawer] | None:
    """Return method and drawer of a reader who wants another form; None where it needs a key that is not there.

    new_words: the passphrase of whoever has none and wants PDFs.
    """
    chosen = replace(drawer, format=wanted)
    if wanted is Format.PDF:
        return Method.PDF, replace(chosen, passphrase=drawer.passphrase or new_words)
    if drawer.certificate:
        return Method.OPENPGP, chosen
    return (Method.SMIME, chosen) if drawer.x509 and wanted is Format.PGP_MIME else None


def format_of(method: Method, drawer: Drawer) -> Format:
    """Return in which form somebody's letters are made at present."""
    if method is Method.OPENPGP:
        return pgp_format(drawer)
    return Format.PDF if method is Method.PDF else Format.PGP_MIME


def pgp_format(drawer: Drawer) -> Format:
    """Return the form of what is sealed to an OpenPGP key; the ordinary one for whoever reads PDFs otherwise."""
    return Format.PGP_MIME if drawer.format is Format.PDF else drawer.format
