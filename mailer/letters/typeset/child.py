"""The child that typesets one PDF: a job on its standard input, the PDF on its standard output, and limits on both.

`python -m mailer.letters.typeset.child`. It is given all that a page shows; what is not in the job is not fetched.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import resource
import sys
from collections.abc import Mapping
from typing import Any

from mailer.letters.typeset import fonts, outlines


def main() -> None:
    """Typeset the job on standard input. Anything that goes wrong ends the process with exit code 1."""
    job = json.load(sys.stdin.buffer)
    _limit(job["memory_octets"], job["time_s"])
    logging.disable()  # warnings quote the page
    sys.tracebacklimit = 0
    sys.stdout.buffer.write(typeset(job["html"], job["css"], job["pictures"]))


def typeset(html: str, css: str, pictures: Mapping[str, tuple[str, str]]) -> bytes:
    """Return a PDF. pictures: content type and base64 by `cid:` address."""
    from weasyprint import CSS, HTML  # type: ignore[import-untyped] # loads Pango, which may be missing
    from weasyprint.urls import URLFetcher, URLFetcherResponse  # type: ignore[import-untyped]

    class Handed(URLFetcher):  # type: ignore[misc]
        """Gives what is in the job, and nothing else: neither files nor the network."""

        def fetch(self, url: str, headers: object = None) -> URLFetcherResponse:
            kind, content = pictures[url]
            return URLFetcherResponse(url, io.BytesIO(base64.b64decode(content)), {"Content-Type": kind})

    document = HTML(string=fonts.spelt_out(html), url_fetcher=Handed(), base_url=None)
    style = CSS(string=css, url_fetcher=Handed(), base_url=None)
    options = {"stylesheets": [style], "pdf_identifier": bytes(16), "presentational_hints": True}
    pdf = document.write_pdf(finisher=_slim, **options)
    assert isinstance(pdf, bytes)
    return pdf


def _slim(_document: Any, pdf: Any) -> None:
    """Make the fonts small, before the file is put together."""
    for one in pdf.objects:
        if getattr(one, "extra", {}).get("Subtype") == "/OpenType":
            small = outlines.without_empty_glyphs(b"".join(one.stream))
            if small is not None:
                one.stream, one.extra["Subtype"] = [small], "/CIDFontType0C"


def _limit(memory_octets: int, time_s: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory_octets, memory_octets))
    resource.setrlimit(resource.RLIMIT_CPU, (time_s, time_s))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main()
