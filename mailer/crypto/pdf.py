"""A PDF encrypted under a passphrase: AES-256, revision 6 (ISO 32000-2 §7.6.4), the only kind that is not broken.

Encryption covers strings and streams, and nothing else of a PDF: names of fonts, the language, links and pages would
stand there in clear. So all objects but streams go into object streams (§7.5.7), which are encrypted, and of a stream
only its kind, its length and a picture's width and height are seen. Streams and their number are padded by chance, the
whole to the length that the caller names.
"""

from __future__ import annotations

import io
import re
import secrets
from collections.abc import Callable
from functools import lru_cache

import pikepdf
from pikepdf import Name, ObjectStreamMode, Pdf

from mailer.errors import FormUnavailable

LONGEST_OCTETS = 127  # of a passphrase; readers cut it there (ISO 32000-2 §7.6.4.3.3)
_BLOCK = 16  # of AES: the unit in which lengths grow
_CHANCE_SHARE = 8  # a stream grows by up to an eighth, and by up to _FEWEST blocks however short it is
_FEWEST = 16
_MOST_EMPTY_STREAMS = 8
_EMPTY_STREAM_OCTETS = 112  # what one costs when nothing is in it
_TRAILER_OCTETS = 4096
_MOST_LINE_ENDS = 900
_FONT_STEP = 16 * 1024
_SLACK = 160  # octets left for what cannot be foreseen: digits of lengths, the compression of the table of objects
_MARKER = (b"%\xbf\xf7\xa2\xfe", b"%\xe2\xe3\xcf\xd3")  # four octets above 127: qpdf's own, and those most files have
_ID = re.compile(rb"/ID \[<[0-9a-f]{32}><[0-9a-f]{32}>\]")
_DEFLATED_NOTHING = bytes.fromhex("789c030000000001")  # RFC 1950; what follows is not read


def encrypt(pdf: bytes, words: str, padded: Callable[[int], int]) -> bytes:
    """Return `pdf` encrypted under `words`, without information on program and time. Raises FormUnavailable.

    padded: from the least length that is possible, in octets, to the one that the result is to have; at least that.
    Two results for the same passphrase have nothing in common. An empty passphrase is a ValueError.
    """
    raw = words.encode("ascii")  # of our own list (words.py): no SASLprep changes them
    if not raw.strip() or len(raw) > LONGEST_OCTETS:
        raise ValueError("a passphrase of a PDF is not empty, and has 127 octets at most")
    try:
        return _encrypt(pdf, words, padded)
    except pikepdf.PdfError as error:
        raise FormUnavailable("PDF.") from error


def opens(pdf: bytes, words: str) -> bool:
    """Return whether `words` open an encrypted PDF."""
    try:
        with pikepdf.open(io.BytesIO(pdf), password=words):
            return True
    except pikepdf.PasswordError:
        return False


def without_traces(pdf: bytes) -> bytes:
    """Return a PDF without what says who made it, with which program, and when. Raises FormUnavailable."""
    try:
        with pikepdf.open(io.BytesIO(pdf)) as document:
            _drop_traces(document)
            output = io.BytesIO()
            document.save(output, object_stream_mode=ObjectStreamMode.generate)
            return output.getvalue()
    except pikepdf.PdfError as error:
        raise FormUnavailable("PDF.") from error


def _drop_traces(document: Pdf) -> None:
    for holder, key in ((document.trailer, Name.Info), (document.trailer, Name.ID), (document.Root, Name.Metadata)):
        if key in holder:
            del holder[key]


def _encrypt(pdf: bytes, words: str, padded: Callable[[int], int]) -> bytes:
    plain, bare_octets = _prepare(pdf)
    with pikepdf.open(io.BytesIO(plain)) as document:
        least = bare_octets + _blur(document) + _SLACK
        length = max(padded(least), least)
        number = 1 + secrets.randbelow(_MOST_EMPTY_STREAMS)
        _fill(document, length - least + (_MOST_EMPTY_STREAMS - number) * _EMPTY_STREAM_OCTETS, number)
        return _to_length(_save(document, words), length)


@lru_cache(maxsize=16)
def _prepare(pdf: bytes) -> tuple[bytes, int]:
    """Return what every reader of an edition gets, and how long it is when it is encrypted and not padded.

    The true length of a font, which its stream names in clear (§9.9.1), is that of a font with zeros behind it.
    """
    with pikepdf.open(io.BytesIO(pdf)) as document:
        for stream in document.objects:
            if isinstance(stream, pikepdf.Stream) and Name.Length1 in stream:
                font = stream.read_bytes()
                stream.write(font + bytes(-len(font) % _FONT_STEP))
                stream.Length1 = len(font) + -len(font) % _FONT_STEP
        _drop_traces(document)
        output = io.BytesIO()
        document.save(output, compress_streams=True)
    with pikepdf.open(io.BytesIO(output.getvalue())) as document:
        _fill(document, 0, _MOST_EMPTY_STREAMS)
        return output.getvalue(), len(_save(document, "x"))


def _blur(document: Pdf) -> int:
    """Let each stream grow by chance, behind its end; return by how much they grew, in octets."""
    grown = 0
    for stream in document.objects:
        if not isinstance(stream, pikepdf.Stream) or stream.get(Name.Type) in (Name.ObjStm, Name.XRef):
            continue  # those are written anew
        content = stream.read_raw_bytes()
        more = _BLOCK * secrets.randbelow(len(content) // _BLOCK // _CHANCE_SHARE + _FEWEST)
        raw, how = content + bytes(more), (stream.get(Name.Filter), stream.get(Name.DecodeParms))
        stream.write(raw, filter=how[0], decode_parms=how[1])  # type: ignore[arg-type] # as they were
        grown += more
    return grown


def _fill(document: Pdf, octets: int, number: int) -> None:
    """Add so many streams that nothing shows, of so many octets in all; only what is encrypted says which they are."""
    blocks = octets // _BLOCK
    cuts = sorted(secrets.randbelow(blocks + 1) for _ in range(number - 1))
    sizes = [_BLOCK * (end - start) for start, end in zip([0, *cuts], [*cuts, blocks], strict=True)]
    document.Root.Pages.Pad = pikepdf.Array([_empty_stream(document, size) for size in sizes])


def _empty_stream(document: Pdf, octets: int) -> pikepdf.Object:
    stream = document.make_stream(b"")
    stream.write(_DEFLATED_NOTHING + bytes(octets), filter=Name.FlateDecode)
    return document.make_indirect(stream)


def _save(document: Pdf, words: str) -> bytes:
    """Return the file, encrypted. Nobody knows the owner's password, which would open it as well."""
    may_all = pikepdf.Permissions(**dict.fromkeys(pikepdf.Permissions._fields, True))
    output = io.BytesIO()
    document.save(
        output,
        encryption=pikepdf.Encryption(user=words, owner=secrets.token_hex(32), R=6, allow=may_all),
        object_stream_mode=ObjectStreamMode.generate,
        compress_streams=False,
        recompress_flate=False,
        fix_metadata_version=False,
        min_version=("1.7", 8),  # never force_version: qpdf then leaves encryption out without a word
    )
    content = output.getvalue().replace(*_MARKER, 1)
    _check_encrypted(content)
    # revision 6 derives no key from it (§7.6.4.4.10), so it may be anything, and tells nothing
    drawn = b"/ID [<%b><%b>]" % (secrets.token_hex(16).encode(), secrets.token_hex(16).encode())
    return _ID.sub(drawn, content)


def _check_encrypted(content: bytes) -> None:
    """Raise FormUnavailable unless the file asks for a password: every copy is read once more, by qpdf, without one."""
    if b"/Encrypt " not in content[-_TRAILER_OCTETS:] or opens(content, ""):
        raise FormUnavailable("PDF: it would not be encrypted.")


def _to_length(content: bytes, length: int) -> bytes:
    """Return the file with line ends behind its last, of which readers skip up to a thousand (§7.5.5, annex I.3.3)."""
    if not 0 <= length - len(content) <= _MOST_LINE_ENDS:
        raise FormUnavailable("PDF: it does not fit its bucket.")
    return content + b"\n" * (length - len(content))
