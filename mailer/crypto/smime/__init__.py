"""S/MIME: the one door to X.509 and PKCS#7, in this folder.

`cryptography` writes and opens PKCS#7 and asks nothing of a certificate; who may be encrypted to is decided in
`certificates`. It verifies no CMS signature, so an S/MIME signature on a letter proves nothing here: who sends one is
asked to confirm, like anybody.
"""

from mailer.crypto.smime.ber import Malformed
from mailer.crypto.smime.certificates import examine, examine_files, expiry, is_usable
from mailer.crypto.smime.containers import is_like
from mailer.crypto.smime.keys import SmimeKey, generate_private, private_pem, request, self_signed, take_answer
from mailer.crypto.smime.messages import (
    MICALG,
    Kind,
    content_of,
    decrypt,
    encrypt,
    kind_of,
    load_everything,
    sign_detached,
)
from mailer.crypto.smime.trust import read_authorities

__all__ = [
    "MICALG",
    "Kind",
    "Malformed",
    "SmimeKey",
    "content_of",
    "decrypt",
    "encrypt",
    "examine",
    "examine_files",
    "expiry",
    "generate_private",
    "is_like",
    "is_usable",
    "kind_of",
    "load_everything",
    "private_pem",
    "read_authorities",
    "request",
    "self_signed",
    "sign_detached",
    "take_answer",
]
