"""Which libraries and fonts this machine has for typesetting, and which characters none of its fonts shows.

Fontconfig knows the characters of every font without opening one (https://www.freedesktop.org/software/fontconfig/).
"""

from __future__ import annotations

import ctypes
import unicodedata
from collections.abc import Iterable
from functools import cache

# what is dlopened by WeasyPrint → the Debian package that has it
_LIBRARIES = {
    "libpango-1.0.so.0": "libpango-1.0-0",
    "libpangoft2-1.0.so.0": "libpangoft2-1.0-0",
    "libharfbuzz-subset.so.0": "libharfbuzz-subset0",
    "libfontconfig.so.1": "libfontconfig1",
}
_FONT_PACKAGE = "fonts-noto-cjk"
_FAMILIES = ("Noto Sans CJK TC", "Noto Sans CJK SC")
_TRY = ord("中")
_SKIPPED = ("Cc", "Cf", "Zl", "Zp", "Zs")  # controls, marks of direction, joiners, spaces: they have no shape
_VARIATION_SELECTORS = frozenset((*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)))


def missing() -> list[str]:
    """Return the names of the Debian packages that have to be installed; [] if there are none."""
    lacking = [package for library, package in _LIBRARIES.items() if _load(library) is None]
    return lacking or ([] if all(_has_family(family) for family in _FAMILIES) else [_FONT_PACKAGE])


def spelt_out(text: str) -> str:
    """Return the text with the name of each character, in brackets, that no font here shows: `[grinning face]`."""
    return text.translate({ord(char): _name(char) for char in _unshown(text)})


def _unshown(text: str) -> Iterable[str]:
    fontconfig = _fontconfig()
    for char in sorted(set(text)):
        if char.isascii() or unicodedata.category(char) in _SKIPPED:
            continue
        if not any(fontconfig.FcCharSetHasChar(one, ord(char)) for one in _coverage()):
            yield char


def _name(char: str) -> str:
    if ord(char) in _VARIATION_SELECTORS:
        return ""
    name = unicodedata.name(char, "")
    is_named = name and not name.startswith(("CJK UNIFIED", "CJK COMPATIBILITY IDEOGRAPH"))
    return f"[{name.lower()}]" if is_named else f"[U+{ord(char):04X}]"


@cache
def _coverage() -> list[ctypes.c_void_p]:
    """Return the set of characters of each font, each kind of set once; they belong to Fontconfig."""
    fontconfig = _fontconfig()
    fonts = fontconfig.FcConfigGetFonts(None, 0)  # FcSetSystem
    sets = (_charset(fontconfig, fonts.contents.fonts[at]) for at in range(fonts.contents.nfont)) if fonts else ()
    return [ctypes.c_void_p(address) for address in dict.fromkeys(sets) if address]


def _has_family(family: str) -> bool:
    fontconfig = _fontconfig()
    fonts = fontconfig.FcConfigGetFonts(None, 0)
    for at in range(fonts.contents.nfont) if fonts else ():
        pattern, name, number = fonts.contents.fonts[at], ctypes.c_char_p(), 0
        while fontconfig.FcPatternGetString(pattern, b"family", number, ctypes.byref(name)) == 0:
            charset = _charset(fontconfig, pattern)
            if name.value == family.encode() and charset and fontconfig.FcCharSetHasChar(charset, _TRY):
                return True
            number += 1
    return False


def _charset(fontconfig: ctypes.CDLL, pattern: int) -> int | None:
    found = ctypes.c_void_p()
    is_there = fontconfig.FcPatternGetCharSet(pattern, b"charset", 0, ctypes.byref(found)) == 0
    return found.value if is_there else None


class _FontSet(ctypes.Structure):
    _fields_ = (("nfont", ctypes.c_int), ("sfont", ctypes.c_int), ("fonts", ctypes.POINTER(ctypes.c_void_p)))


@cache
def _fontconfig() -> ctypes.CDLL:
    library = ctypes.CDLL("libfontconfig.so.1")
    library.FcConfigGetFonts.restype = ctypes.POINTER(_FontSet)
    library.FcConfigGetFonts.argtypes = (ctypes.c_void_p, ctypes.c_int)
    out = ctypes.c_void_p  # a pointer to what is found
    library.FcPatternGetCharSet.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, out)
    library.FcPatternGetString.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, out)
    library.FcCharSetHasChar.argtypes = (ctypes.c_void_p, ctypes.c_uint32)
    return library


def _load(library: str) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(library)
    except OSError:
        return None
