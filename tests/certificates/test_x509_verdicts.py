"""Every way in which an X.509 certificate can be unusable has its own verdict; what is usable is kept as it is."""

from __future__ import annotations

import base64
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, padding, rsa, x25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs7
from cryptography.x509.oid import ExtendedKeyUsageOID

from mailer.crypto import certificates, smime
from mailer.crypto.smime import SmimeKey
from mailer.errors import CertificateAuthoritiesUnusable, CertificateUnusable
from mailer.model.certificate import Certificate, Refusal, Refused
from tests.authority import NOW, Authority, pem, rsa_key, self_signed, to_pkcs12
from tests.conftest import needs


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.root()


def verdict(blob: bytes, authorities: bytes = b"", now: datetime = NOW) -> Certificate | Refused:
    (only,) = certificates.examine(blob, now, authorities)
    return only


def reason(blob: bytes, authorities: bytes = b"", now: datetime = NOW) -> Refusal | None:
    found = verdict(blob, authorities, now)
    assert isinstance(found, Certificate) or found.is_x509
    return found.reason if isinstance(found, Refused) else None


# --- Usable ----------------------------------------------------------------------------------------------------------

FILES: dict[str, Callable[[SmimeKey], bytes]] = {
    "DER": lambda key: key.der,
    "PEM": lambda key: pem(key.certificate),
    "PEM with CRLF and words around": lambda key: (
        b"Hello\r\n" + pem(key.certificate).replace(b"\n", b"\r\n") + b"Bye\r\n"
    ),
    "PEM, quoted-printable left": lambda key: pem(key.certificate).replace(b"=", b"=3D"),
    "PEM, indented": lambda key: pem(key.certificate).replace(b"\n", b"\n   "),
    "PEM with its chain": lambda key: key.public_pem,
    "PEM with its chain before it": lambda key: pem(*key.chain, key.certificate),
    "PKCS#7": lambda key: pkcs7.serialize_certificates([key.certificate, *key.chain], Encoding.DER),
    "PKCS#7 in PEM": lambda key: pkcs7.serialize_certificates([key.certificate], Encoding.PEM),
    "a signature": lambda key: smime.sign_detached(b"\r\n", key),
}


@pytest.mark.parametrize("pack", FILES.values(), ids=FILES)
def test_a_good_certificate_is_found_in_any_kind_of_file(
    pack: Callable[[SmimeKey], bytes], authority: Authority
) -> None:
    key = authority.issue()
    found = verdict(pack(key))
    assert isinstance(found, Certificate) and found.is_x509
    assert (found.blob, found.fingerprint, found.algorithms) == (key.der, key.fingerprint, ("rsa2048",))
    assert found.expires == key.expires and certificates.expiry(found.blob) == key.expires


def test_a_certificate_that_vouches_for_itself_is_usable_without_authorities() -> None:
    assert isinstance(verdict(self_signed().der), Certificate)
    assert isinstance(verdict(self_signed(is_ca=None, can_encipher=None, uses=()).der), Certificate)


def test_a_certificate_for_any_use_is_for_mail_too() -> None:
    uses = (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)
    assert isinstance(verdict(self_signed(uses=uses).der), Certificate)


def test_of_a_certificate_for_signing_and_one_for_encryption_the_latter_is_usable(authority: Authority) -> None:
    signing, encrypting = authority.issue(can_encipher=False), authority.issue(key=rsa_key(2))
    found = certificates.examine(pem(signing.certificate, encrypting.certificate), NOW)
    assert [one.fingerprint for one in found if isinstance(one, Certificate)] == [encrypting.fingerprint]
    assert [one.reason for one in found if isinstance(one, Refused)] == [Refusal.SIGN_ONLY]


def test_what_a_person_made_with_openssl_is_theirs_though_it_says_that_it_is_an_authority() -> None:
    command = [needs("openssl"), "req", "-x509", "-nodes", "-keyout", "/dev/null", "-subj", "/CN=ada", "-days", "90"]
    more = ["-newkey", "rsa:2048", "-addext", "subjectAltName=email:ada@reader.example"]
    made = subprocess.run([*command, *more], capture_output=True, check=True).stdout
    assert (
        b"CA:TRUE"
        in subprocess.run(
            [needs("openssl"), "x509", "-noout", "-text"], input=made, capture_output=True, check=True
        ).stdout
    )
    now = datetime.now(UTC) + timedelta(minutes=1)
    assert isinstance(certificates.examine(made, now)[0], Certificate)


# --- Refused ---------------------------------------------------------------------------------------------------------

BAD: dict[str, tuple[Callable[[], bytes], Refusal]] = {
    "expired": (lambda: self_signed(ends=NOW - timedelta(hours=1)).der, Refusal.EXPIRED),
    "not yet valid": (lambda: self_signed(begins=NOW + timedelta(days=1)).der, Refusal.NOT_YET_VALID),
    "an authority's": (lambda: self_signed(is_ca=True, can_encipher=None).der, Refusal.CA),
    "for signing only": (lambda: self_signed(can_encipher=False).der, Refusal.SIGN_ONLY),
    "for a website": (lambda: self_signed(uses=(ExtendedKeyUsageOID.SERVER_AUTH,)).der, Refusal.NOT_FOR_MAIL),
    "of 1024 bits": (lambda: self_signed(key=rsa_key(3, 1024)).der, Refusal.WEAK),
    "signed with SHA-1": (lambda: openssl_made("-sha1"), Refusal.WEAK),
    "of 9000 bits": (lambda: issued_for(rsa.RSAPublicNumbers(65537, (1 << 8999) + 1).public_key()), Refusal.TOO_LARGE),
    "on P-256": (lambda: self_signed(key=ec.generate_private_key(ec.SECP256R1())).der, Refusal.ELLIPTIC_CURVE),
    "of Ed25519": (lambda: self_signed(key=ed25519.Ed25519PrivateKey.generate()).der, Refusal.ELLIPTIC_CURVE),
    "of X25519": (lambda: issued_for(x25519.X25519PrivateKey.generate().public_key()), Refusal.ELLIPTIC_CURVE),
    "of DSA": (lambda: issued_for(dsa.generate_private_key(1024).public_key()), Refusal.SIGN_ONLY),
    "of RSA-PSS": (lambda: openssl_made("-newkey", "rsa-pss"), Refusal.SIGN_ONLY),
    "on an odd curve": (
        lambda: openssl_made("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:sect233k1"),
        Refusal.ELLIPTIC_CURVE,
    ),
    "changed": (lambda: flipped(self_signed().der), Refusal.BROKEN),
    "a secret key": (lambda: secret(Encoding.PEM, PrivateFormat.PKCS8), Refusal.SECRET),
    "a secret key, DER": (lambda: secret(Encoding.DER, PrivateFormat.PKCS8), Refusal.SECRET),
    "a secret key, PKCS#1": (lambda: secret(Encoding.DER, PrivateFormat.TraditionalOpenSSL), Refusal.SECRET),
    "a certificate with its secret key": (lambda: self_signed().to_pem(), Refusal.SECRET),
    "PKCS#12": (lambda: to_pkcs12(self_signed()), Refusal.SECRET),
    "PKCS#12 in PEM": (lambda: armored("PKCS12", to_pkcs12(self_signed())), Refusal.SECRET),
    "cut off": (lambda: self_signed().der[:-20], Refusal.NOT_A_CERTIFICATE),
    "a CRL": (lambda: armored("CERTIFICATE", b"0\3\2\1\1"), Refusal.NOT_A_CERTIFICATE),
    "too large": (lambda: pem(self_signed().certificate) * 1000, Refusal.TOO_LARGE),
}


@pytest.mark.parametrize(("make", "expected"), BAD.values(), ids=BAD)
def test_a_bad_certificate_is_refused_for_its_own_reason(make: Callable[[], bytes], expected: Refusal) -> None:
    assert reason(make()) is expected


def openssl_made(*arguments: str) -> bytes:
    """Return a certificate of a kind that the library does not make."""
    key = [] if "-newkey" in arguments else ["-newkey", "rsa:2048"]
    command = [needs("openssl"), "req", "-x509", "-nodes", "-keyout", "/dev/null", "-subj", "/CN=ada", *key, *arguments]
    mail = ["-addext", "basicConstraints=critical,CA:FALSE", "-addext", "extendedKeyUsage=emailProtection"]
    return subprocess.run([*command, *mail], capture_output=True, check=True).stdout


def issued_for(public: object) -> bytes:
    return Authority.root().issue(key=public).der


def flipped(der: bytes) -> bytes:
    """Return a certificate with one bit of its signature turned."""
    return der[:-1] + bytes((der[-1] ^ 1,))


def secret(encoding: Encoding, form: PrivateFormat) -> bytes:
    return rsa_key(1).private_bytes(encoding, form, NoEncryption())


def armored(label: str, content: bytes) -> bytes:
    return f"-----BEGIN {label}-----\n{base64.encodebytes(content).decode()}-----END {label}-----\n".encode()


def test_a_certificate_signed_with_pss_is_usable_if_its_key_is_for_encryption(authority: Authority) -> None:
    signed = authority.issue(padding=padding.PSS(padding.MGF1(SHA256()), padding.PSS.DIGEST_LENGTH))
    assert isinstance(verdict(signed.public_pem), Certificate)


# --- Authorities -----------------------------------------------------------------------------------------------------


def test_with_authorities_one_of_them_has_to_vouch_for_a_certificate(authority: Authority) -> None:
    assert reason(authority.issue().der, authority.pem) is None
    assert reason(Authority.root("Another", 110).issue().der, authority.pem) is Refusal.UNTRUSTED
    assert reason(self_signed().der, authority.pem) is Refusal.UNTRUSTED


def test_one_with_the_name_of_an_authority_and_another_key_vouches_for_nobody(authority: Authority) -> None:
    assert reason(Authority.root(number=111).issue().public_pem, authority.pem) is Refusal.UNTRUSTED


def test_the_chain_that_comes_along_leads_to_the_authority(authority: Authority) -> None:
    key = authority.intermediate().issue()
    assert reason(key.public_pem, authority.pem) is None
    assert reason(smime.sign_detached(b"", key), authority.pem) is None
    assert reason(key.der, authority.pem) is Refusal.UNTRUSTED
    beside = smime.examine_files([key.der, pem(*key.chain)], NOW, authority.pem)
    assert isinstance(beside[0], Certificate)


@pytest.mark.parametrize("bad", [{"is_ca": False}, {"ends": NOW - timedelta(hours=1)}, {"is_ca": None}])
def test_a_chain_over_what_is_no_living_authority_leads_nowhere(bad: dict[str, object], authority: Authority) -> None:
    key = authority.intermediate(**bad).issue()
    found = {one.fingerprint: one for one in certificates.examine(key.public_pem, NOW, authority.pem)}
    own = found[key.fingerprint]
    assert isinstance(own, Refused) and own.reason is Refusal.UNTRUSTED


def test_many_authorities_that_vouch_for_each_other_cost_little_time(authority: Authority) -> None:
    crowd = [authority.intermediate(101, name="Twin").certificate for _ in range(30)]
    wanted = Authority(rsa_key(101), crowd[0]).issue()
    begin = time.process_time()
    reason(pem(wanted.certificate, *crowd), Authority.root("Another", 110).pem)
    assert time.process_time() - begin < 1


def test_a_file_that_is_no_pem_is_no_file_of_authorities() -> None:
    with pytest.raises(CertificateAuthoritiesUnusable):
        smime.read_authorities(b"nothing of the kind")


# --- When it is used -------------------------------------------------------------------------------------------------


def test_nothing_is_encrypted_to_a_certificate_that_has_expired_or_is_no_rsa(authority: Authority) -> None:
    good = authority.issue()
    assert smime.encrypt(b"hello", good.der, NOW)
    for der in (good.der[:-9], self_signed(can_encipher=False).der, self_signed(key=rsa_key(3, 1024)).der, b""):
        with pytest.raises(CertificateUnusable):
            smime.encrypt(b"hello", der, NOW)
    with pytest.raises(CertificateUnusable):
        smime.encrypt(b"hello", good.der, good.expires)
    assert certificates.is_usable(good.der, good.expires) is Refusal.EXPIRED
    assert certificates.is_usable(good.der, good.expires - timedelta(seconds=1)) is None


# --- Other people's files --------------------------------------------------------------------------------------------

EXPECTED = {
    "gnupg-cms/cert_cci_user03.pem": "weak",
    "gnupg-cms/cert_testpki_testpca.pem": "ca",
    "gnupg-cms/samplekeys/opensc-test.p12": "secret",
    "notmuch/0xE0972A47.p12": "secret",
    "mimekit/smrsa1.pem": "secret",
    "oscrypto/test-dsa-2048.crt": "sign-only",
    "oscrypto/test-ec-named-der.crt": "elliptic-curve",
    "oscrypto/test-pss.crt": "sign-only",
    "rfc9216/3.3_RSA-Certification-Authority-Cross-Signed-Certificate.crt.pem": "ca",
    "rfc9216/5.1_Bobs-Signature-Verification-End-Entity-Certificate.crt.pem": "sign-only",
    "rfc9216/7.3_Carloss-Encryption-End-Entity-Certificate.crt.pem": "elliptic-curve",
    "rfc9216/7.5_PKCS-_12-Object-for-Carlos.p12.pem": "secret",
}


@pytest.mark.parametrize(("name", "expected"), EXPECTED.items())
def test_files_of_other_projects_get_the_right_verdict(name: str, expected: str, corpora: Path) -> None:
    assert reason((corpora / "smime" / name).read_bytes(), now=datetime(2026, 11, 1, tzinfo=UTC)) == expected


def test_no_file_of_other_projects_takes_long_or_raises(corpora: Path) -> None:
    for path in (corpora / "smime").rglob("*"):
        if path.is_file():
            begin = time.process_time()
            certificates.examine(path.read_bytes(), NOW)
            assert time.process_time() - begin < 1, path.name
