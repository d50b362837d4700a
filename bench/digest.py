"""The digest that is delivered: one edition that makes 40 KB of signed text and HTML."""

from __future__ import annotations

from pathlib import Path

TARGET_OCTETS = 40_000
_PARAGRAPH = (
    "In the {}th week of the strike the crane drivers of the harbour went back to **their** cabins: every day of it is "
    "paid, the night shifts are voluntary once more, and who was sacked is [taken back](https://harbour.example/{}). "
    "What was won was won by those who stood at the gate at five in the morning, and by all who brought them soup.\n\n"
)
PARAGRAPHS = 46  # text, HTML and their encoding make about 830 octets of each


def write(folder: Path) -> Path:
    """Write the organiser's file; return its path."""
    path = folder / "issue.en.md"
    head = "---\nsubject: Harbour workers win their pay back\nlanguage: en\n---\n\n"
    path.write_text(head + "".join(_PARAGRAPH.format(number, number) for number in range(1, PARAGRAPHS + 1)))
    return path
