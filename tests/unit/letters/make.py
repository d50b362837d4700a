"""Makes the letters in this folder anew, with new keys: `python -m tests.unit.letters.make` (needs gpg)."""

from __future__ import annotations

import base64
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from mailer.crypto.openpgp import gnupg as list_keys
from tests.conftest import Gnupg

HERE = Path(__file__).parent
KEYS_MADE = datetime(2026, 1, 1, tzinfo=UTC)
SIGNED_AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
FROM = "From: Alice <alice@example.org>"
DATE = "Date: Fri, 20 Nov 2026 12:00:00 +0000"
HEADER = f"{FROM}\nTo: news@lists.example\n{DATE}\nMessage-ID: <{{name}}@example.org>"
TEXT = "Content-Type: text/plain; charset=utf-8\n\nunsubscribe\n"
PROTECTED = (
    f'Content-Type: text/plain; charset=utf-8; hp="{{hp}}"\nSubject: unsubscribe\n{FROM}\n{DATE}\n\nunsubscribe\n'
)
OTHER_TEXT = "Content-Type: text/plain; charset=utf-8\n\nsubscribe\n"
FOOTER = "Content-Type: text/plain; charset=utf-8\n\n_____\nnews mailing list\n"


def entity(subtype: str, *parts: str, parameters: str = "", boundary: str = "frontier") -> str:
    """Return a multipart of these entities, LF."""
    body = "".join(f"--{boundary}\n{part}\n" for part in parts)
    return f'Content-Type: multipart/{subtype}; boundary="{boundary}"{parameters}\n\n{body}--{boundary}--\n'


class Scene:
    """Alice subscribes, Mallory would like to be Alice, and the list has a key."""

    def __init__(self, gnupg: Gnupg) -> None:
        self.gnupg = gnupg
        gnupg.import_key(list_keys.make_key("<news@lists.example>", KEYS_MADE))
        (self.list,) = gnupg.fingerprints()
        self.alice, self.mallory, self.other = (
            gnupg.make_key(address, made=KEYS_MADE)
            for address in ("alice@example.org", "mallory@example.net", "other@lists.example")
        )

    def write_keys(self) -> None:
        (HERE / "keys" / "list-secret.pgp").write_bytes(self.gnupg.secret(self.list))
        for name, fingerprint in (("list", self.list), ("alice", self.alice), ("mallory", self.mallory)):
            (HERE / "keys" / f"{name}.asc").write_bytes(self.gnupg.certificate(fingerprint, armored=True))

    def signature(self, payload: str, by: str) -> str:
        signed = payload.replace("\n", "\r\n").encode()
        armored = self.gnupg.run("--armor", "--local-user", by, "--detach-sign", stdin=signed, at=SIGNED_AT)
        return f"Content-Type: application/pgp-signature; name=signature.asc\n\n{armored.decode()}"

    def signed(
        self, payload: str, by: str, *, beside: tuple[str, ...] = (), instead: str = "", boundary: str = "signed"
    ) -> str:
        """Return multipart/signed over `payload`; `instead` is put in its place, `beside` stands after it."""
        parameters = '; micalg=pgp-sha512; protocol="application/pgp-signature"'
        parts = (instead or payload, self.signature(payload, by), *beside)
        return entity("signed", *parts, parameters=parameters, boundary=boundary)

    def cleartext(self, text: str, by: str) -> str:
        return self.gnupg.run("--local-user", by, "--clear-sign", stdin=text.encode(), at=SIGNED_AT).decode()

    def message(self, plaintext: str, *to: str, by: str = "", compression: str = "") -> str:
        recipients = [part for fingerprint in to for part in ("--recipient", fingerprint)]
        signing = ["--sign", "--local-user", by] if by else []
        compressing = ["--compress-algo", compression] if compression else []
        options = ["--armor", "--trust-model", "always", *signing, *compressing, "--encrypt", *recipients]
        return self.gnupg.run(*options, stdin=plaintext.replace("\n", "\r\n").encode(), at=SIGNED_AT).decode()

    def sealed_parts(self, plaintext: str, *to: str, by: str = "", compression: str = "") -> tuple[str, str]:
        message = self.message(plaintext, *to, by=by, compression=compression)
        first = "Content-Type: application/pgp-encrypted\n\nVersion: 1\n"
        return first, f"Content-Type: application/octet-stream; name=encrypted.asc\n\n{message}"

    def sealed(self, plaintext: str, *to: str, by: str = "", compression: str = "") -> str:
        parameters = '; protocol="application/pgp-encrypted"'
        return entity(
            "encrypted",
            *self.sealed_parts(plaintext, *to, by=by, compression=compression),
            parameters=parameters,
            boundary="sealed",
        )

    def letters(self) -> dict[str, str]:
        return {**self.signed_letters(), **self.sealed_letters(), **self.inline_letters(), **self.key_letters()}

    def signed_letters(self) -> dict[str, str]:
        good = self.signed(TEXT, self.alice)
        attached = good.replace("\n\n", "\nContent-Disposition: attachment; filename=signed.eml\n\n", 1)
        forwarded = f"Content-Type: message/rfc822\n\n{FROM}\nSubject: unsubscribe\n{good}"
        inner = self.signed(PROTECTED.format(hp="clear"), self.alice)
        return {
            "signed": good,
            "signed-protected-subject": inner,
            "signed-other-from": inner.replace(FROM, "From: Mallory <mallory@example.net>"),
            "signed-altered": self.signed(TEXT, self.alice, instead=OTHER_TEXT),
            "signed-by-another": self.signed(TEXT, self.mallory),
            "signed-twice": self.signed(self.signed(TEXT, self.alice, boundary="within"), self.mallory),
            "signed-below-text": entity("mixed", OTHER_TEXT, good),
            "signed-above-footer": entity("mixed", good, FOOTER),
            "signed-as-attachment": entity("mixed", OTHER_TEXT, attached),
            "signed-and-forwarded": entity("mixed", OTHER_TEXT, forwarded),
            "signed-one-alternative": entity("alternative", OTHER_TEXT, good),
            "signed-related-to-html": entity("related", "Content-Type: text/html\n\n<p>subscribe</p>\n", good),
            "signed-with-third-part": self.signed(TEXT, self.alice, beside=(OTHER_TEXT,)),
            "signed-in-one-part-mixed": entity("mixed", good),
        }

    def sealed_letters(self) -> dict[str, str]:
        protected = PROTECTED.format(hp="cipher")
        good = self.sealed(protected, self.list, by=self.alice)
        legacy = entity(
            "mixed",
            'Content-Type: text/plain; protected-headers="v1"\n\nSubject: unsubscribe\n',
            TEXT,
            parameters=f'; protected-headers="v1"\nSubject: unsubscribe\n{FROM}',
            boundary="legacy",
        )
        shown = 'Content-Type: text/plain; hp="cipher"; hp-legacy-display="1"\nSubject: unsubscribe\n'
        shown += "\nSubject: unsubscribe\n\nunsubscribe\n"
        return {
            "sealed": good,
            "sealed-unsigned": self.sealed(protected, self.list),
            "sealed-compressed": self.sealed(protected, self.list, by=self.alice, compression="zlib"),
            "sealed-signed-inside": self.sealed(self.signed(protected, self.alice), self.list),
            "sealed-other-from": self.sealed(protected.replace("Alice <alice", "Eve <eve"), self.list, by=self.alice),
            "sealed-signed-by-another": self.sealed(protected, self.list, by=self.mallory),
            "sealed-then-signed": self.signed(self.sealed(TEXT, self.list), self.alice),
            "sealed-unmarked-subject": self.sealed(f"Subject: subscribe\n{TEXT}", self.list, by=self.alice),
            "sealed-partly-signed": self.sealed(entity("mixed", OTHER_TEXT, self.signed(TEXT, self.alice)), self.list),
            "sealed-legacy-part": self.sealed(legacy, self.list, by=self.alice),
            "sealed-legacy-lines": self.sealed(shown, self.list, by=self.alice),
            "sealed-torn-by-exchange": entity("mixed", *self.sealed_parts(protected, self.list, by=self.alice)),
            "sealed-above-footer": entity("mixed", good, FOOTER),
            "sealed-below-html": entity("related", "Content-Type: text/html\n\n<p>subscribe</p>\n", good),
            "sealed-to-others": self.sealed(protected, self.other),
        }

    def inline_letters(self) -> dict[str, str]:
        plain = "Content-Type: text/plain; charset=utf-8\n\n"
        html = "Content-Type: text/html\n\n<p>subscribe</p>\n"
        good = self.cleartext("unsubscribe\n- a dash\n", self.alice)
        message = self.message("unsubscribe\n", self.list, by=self.alice)
        return {
            "inline-signed": plain + good,
            "inline-signed-below-text": f"{plain}subscribe\n\n{good}",
            "inline-signed-above-text": f"{plain}{good}\nsubscribe\n",
            "inline-signed-altered": plain + good.replace("\nunsubscribe", "\nsubscribe"),
            "inline-signed-forged-header": plain + good.replace("\n\nunsubscribe", "\nsubscribe\n\nunsubscribe", 1),
            "inline-signed-twice": f"{plain}{good}{self.cleartext('subscribe', self.mallory)}",
            "inline-signed-beside-html": entity("mixed", plain + good, html),
            "inline-sealed": plain + message,
            "inline-sealed-below-text": f"{plain}subscribe\n\n{message}",
            "inline-sealed-to-others": plain + self.message("unsubscribe\n", self.other),
        }

    def key_letters(self) -> dict[str, str]:
        alice, mallory, own = (
            self.gnupg.certificate(fingerprint, armored=True).decode()
            for fingerprint in (self.alice, self.mallory, self.list)
        )
        binary = base64.encodebytes(self.gnupg.certificate(self.alice)).decode()
        damaged = alice.replace("=", "=3D").replace("\n\nmDME", "\n\nmDM=\nE")  # quoted-printable, never decoded
        subscribe = "Content-Type: text/plain\n\nsubscribe\n"

        def attached(key: str) -> str:
            return f"Content-Type: application/pgp-keys; name=key.asc\nContent-Disposition: attachment\n\n{key}"

        octets = 'Content-Type: application/octet-stream; name="alice"\nContent-Transfer-Encoding: base64\n\n' + binary
        plain = "Content-Type: text/plain\n\n"
        return {
            "key-attached": entity("mixed", subscribe, attached(alice)),
            "key-attached-binary": entity("mixed", subscribe, octets),
            "key-in-text": f"{plain}subscribe\n\n{alice}",
            "key-in-text-damaged": f"{plain}subscribe\n\n{damaged}",
            "key-in-text-indented": f"{plain}subscribe\n\n" + "".join(f"  {line} \n\n" for line in alice.split("\n")),
            "key-in-html": "Content-Type: text/html\n\n<p>subscribe</p><div>"
            + alice.replace("\n", "<br>\n")
            + "</div>\n",
            "key-quoted": f"{plain}subscribe\n\n" + "".join(f"> {line}\n" for line in mallory.split("\n")),
            "key-of-the-list": f"{plain}subscribe\n\n{own}",
            "keys-of-two": entity("mixed", subscribe, attached(alice), attached(mallory)),
            "key-twice": entity("mixed", f"{subscribe}\n{alice}", attached(alice)),
            "key-autocrypt": self.autocrypt("alice@example.org") + subscribe,
            "key-autocrypt-other-address": self.autocrypt("mallory@example.net") + subscribe,
            "key-autocrypt-twice": self.autocrypt("alice@example.org") * 2 + subscribe,
            "key-autocrypt-unknown-attribute": self.autocrypt("alice@example.org; critical=1") + subscribe,
        }

    def autocrypt(self, address: str) -> str:
        key = base64.encodebytes(self.gnupg.certificate(self.alice)).decode().replace("\n", "\n ").rstrip()
        return f"Autocrypt: addr={address}; prefer-encrypt=mutual; keydata=\n {key}\n"


def main() -> None:
    gnupg = Gnupg(Path(tempfile.mkdtemp(prefix="gpg-")))
    scene = Scene(gnupg)
    scene.write_keys()
    for name, content in scene.letters().items():
        subject = "..." if name.startswith("sealed") else "a letter"
        letter = f"{HEADER.format(name=name)}\nSubject: {subject}\nMIME-Version: 1.0\n{content}"
        (HERE / f"{name}.eml").write_bytes(letter.replace("\r\n", "\n").replace("\n", "\r\n").encode())
    gnupg.close()


if __name__ == "__main__":
    main()
