"""A font that was cut down to what is shown, cut down once more: without the places of all that is not shown.

A subset made by HarfBuzz keeps an empty glyph for each of a Chinese font's sixty thousand, over 100 KB that no
compression makes smaller. In a CID-keyed font a table says which glyph has which number (Adobe Technical Note 5176
§18), so they can go, and the page's numbers stay good.
"""

from __future__ import annotations

import io
from typing import Any

from fontTools.cffLib import CFFFontSet  # type: ignore[import-untyped]
from fontTools.ttLib import TTFont  # type: ignore[import-untyped]

_EMPTY_OCTETS = 1  # `endchar`


def without_empty_glyphs(opentype: bytes) -> bytes | None:
    """Return the bare CFF table of an OpenType font, its empty glyphs left out; None for a font of another kind."""
    font = TTFont(io.BytesIO(opentype), lazy=True)
    if "CFF " not in font:
        return None
    outlines: Any = CFFFontSet()
    outlines.decompile(io.BytesIO(font.reader["CFF "]), font, isCFF2=False)
    top = outlines.topDictIndex[0]
    if not hasattr(top, "ROS"):  # keyed by names: there the page's numbers are those of glyphs
        return None
    _keep(top, _drawn(top.CharStrings.charStringsIndex))
    output = io.BytesIO()
    outlines.compile(output, font, isCFF2=False)
    return output.getvalue()


def _drawn(index: Any) -> list[int]:
    sizes = (end - start for start, end in zip(index.offsets, index.offsets[1:], strict=False))
    return [glyph for glyph, size in enumerate(sizes) if glyph == 0 or size > _EMPTY_OCTETS]


def _keep(top: Any, glyphs: list[int]) -> None:
    index, names, select = top.CharStrings.charStringsIndex, top.charset, top.FDSelect
    index.items = [index[glyph] for glyph in glyphs]
    index.count = len(glyphs)
    index.file = None  # it would read the others from there
    top.charset = [names[glyph] for glyph in glyphs]
    top.CharStrings.charStrings = {name: number for number, name in enumerate(top.charset)}
    top.numGlyphs = len(glyphs)
    select.gidArray = [select.gidArray[glyph] for glyph in glyphs]
