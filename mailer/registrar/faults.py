"""Why somebody is not taken into the register, in the words that the admin reads; none repeats what was given."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mailer.model.certificate import Refusal


class Fault(StrEnum):
    """One reason each; those of a certificate are `key-` and its Refusal."""

    CELLS = "too-many-cells"
    NO_ADDRESS = "no-address"
    BAD_ADDRESS = "bad-address"
    OUR_ADDRESS = "own-address"
    LANGUAGE = "language"
    STATE = "state"
    DAY = "day"
    FORMAT = "format"
    PASSPHRASE = "passphrase"
    KEY_FILE = "key-file"
    KEY_OUTSIDE = "key-outside"
    KEY_TOO_MUCH = "key-too-much"
    DUPLICATE = "duplicate"
    SUBSCRIBED = "subscribed"
    INVITED = "invited"
    LEFT = "left"
    BANNED = "banned"
    KEY_EXPIRED = "key-expired"
    KEY_EXPIRED_SUBKEY = "key-expired-subkey"
    KEY_REVOKED = "key-revoked"
    KEY_SIGN_ONLY = "key-sign-only"
    KEY_WEAK = "key-weak"
    KEY_UNSUPPORTED = "key-unsupported"
    KEY_TOO_LARGE = "key-too-large"
    KEY_SECRET = "key-secret"
    KEY_NOT_A_CERTIFICATE = "key-not-a-certificate"
    KEY_SEVERAL = "key-several"
    KEY_NOT_YET_VALID = "key-not-yet-valid"
    KEY_CA = "key-ca"
    KEY_NOT_FOR_MAIL = "key-not-for-mail"
    KEY_ELLIPTIC_CURVE = "key-elliptic-curve"
    KEY_UNTRUSTED = "key-untrusted"
    KEY_BROKEN = "key-broken"
    KEY_NOT_OFFERED = "key-not-offered"

    @classmethod
    def of_key(cls, refusal: Refusal) -> Fault:
        """Return the fault that a refused certificate is."""
        return cls(f"key-{refusal}")


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one line of a file (from 1). other: the line that it repeats."""

    line: int
    fault: Fault
    other: int | None = None

    @property
    def sentence(self) -> str:
        """What is wrong, without a full stop."""
        return SENTENCES[self.fault] + (f", on line {self.other}" if self.other else "")


SENTENCES: dict[Fault, str] = {
    Fault.CELLS: "there are more cells than the first line has names; is a quotation mark missing?",
    Fault.NO_ADDRESS: "there is no address",
    Fault.BAD_ADDRESS: "that is not an e-mail address that mail can be sent to",
    Fault.OUR_ADDRESS: "that is the address of a list of this instance",
    Fault.LANGUAGE: "that is no language of ours; there are en, zh-Hant and zh-Hans",
    Fault.STATE: "that is no state; there are active, paused, suspended and invited",
    Fault.DAY: "that is no day in the past; write it as 2026-01-31",
    Fault.FORMAT: "that is no form of letters; there are pgp-mime, inline, attachment and pdf",
    Fault.PASSPHRASE: "a passphrase for PDFs is five words or more in small letters, 32 characters at most",
    Fault.KEY_FILE: "the file of the key cannot be read",
    Fault.KEY_OUTSIDE: "the file of the key lies outside the folder of the CSV file; put it beside that",
    Fault.KEY_TOO_MUCH: "the key takes more time or memory to read than any honest key",
    Fault.DUPLICATE: "the same address is there already",
    Fault.SUBSCRIBED: "the address is on the list already",
    Fault.INVITED: "the address was asked already and has not answered yet",
    Fault.LEFT: "whoever has the address left the list; they can only be asked to come back, "
    "with `mailer subscribers add` and without --consent-recorded",
    Fault.BANNED: "the address is banned from the list",
    Fault.KEY_EXPIRED: "the key has expired",
    Fault.KEY_EXPIRED_SUBKEY: "the part of the key that encrypts has expired",
    Fault.KEY_REVOKED: "the key was revoked by its holder",
    Fault.KEY_SIGN_ONLY: "the key can only sign: nothing can be encrypted to it",
    Fault.KEY_WEAK: "the key is too weak; a new one is needed",
    Fault.KEY_UNSUPPORTED: "the key is of a kind that we cannot use; an ordinary new one works",
    Fault.KEY_TOO_LARGE: "the key is too large; a minimal export works",
    Fault.KEY_SECRET: "that is a secret key, which nobody but its holder should have; a public key is needed",
    Fault.KEY_NOT_A_CERTIFICATE: "that is no OpenPGP public key, and no certificate for S/MIME",
    Fault.KEY_SEVERAL: "there are several keys; leave one",
    Fault.KEY_NOT_YET_VALID: "the key is from the future; look at the clock of the machine that made it",
    Fault.KEY_CA: "that is the certificate of a certificate authority; the person's own is needed",
    Fault.KEY_NOT_FOR_MAIL: "the certificate is not for mail",
    Fault.KEY_ELLIPTIC_CURVE: "the certificate's key is on an elliptic curve; for S/MIME we can use RSA alone",
    Fault.KEY_UNTRUSTED: "the certificate comes from none of the authorities in [smime] ca_file",
    Fault.KEY_BROKEN: "the certificate's signature is not valid; it was damaged or altered",
    Fault.KEY_NOT_OFFERED: "the list has no X.509 key; `mailer keys smime` makes one",
}
