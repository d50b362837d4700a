"""What fuzzing begins with: letters, keys and bounces of the tests, and of the folder of corpora where it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
CORPORA = ROOT.parent / "shared" / "corpora"
SEED_OCTETS = 16 * 1024
MOST = 400
FOLDERS = {
    "letter": (
        "tests/unit/letters",
        *("openpgp-mail", "mime-torture", "zh-mail", "protected-headers", "autocrypt", "signature-spoofing"),
    ),
    "openpgp": ("tests/certificates/files", "tests/unit/letters/keys", "openpgp-misc-keys", "openpgp-sequoia"),
    "report": ("tests/unit/letters", "bounces-sisimai", "bounces-flufl", "bounces-misc", "bounces-schleuder"),
    "asked": (),
    "address": (),
}
WORDS = {
    "asked": (
        "Re: subscribe\nconfirm-abcdefghij234567klmnopqr\nlanguage zh-Hant\npause\n",
        "訂閱\n\n您好：\n\n我想取消訂閱\n",
        "\nunsubscribe\nOn 1 May 2026, news wrote:\n> subscribe\n-- \nAda\n",
        "Fwd: help\n\naddress new@example.org\n-----Original Message-----\n",
    ),
    "address": (
        "news+confirm-abcdefghij234567klmnopqr@lists.example",
        '"Ada, Countess" <ada@reader.example>',
        "<@one.example,@two.example:ada@reader.example> SIZE=10",
        "小明@例子.example",
        "=?utf-8?B?YWRh?= <ada@xn--fsqu00a.example> (comment)",
    ),
}


def of(target: str) -> Iterator[bytes]:
    """Yield the first inputs of a target, none of them long: what is short is tried more often."""
    yield from (words.encode() for words in WORDS.get(target, ()))
    for count, path in enumerate(path for folder in FOLDERS[target] for path in _files(folder)):
        if count >= MOST:
            return
        yield path.read_bytes()[:SEED_OCTETS]


def _files(name: str) -> Iterator[Path]:
    folder = ROOT / name if name.startswith("tests/") else CORPORA / name
    return (path for path in sorted(folder.rglob("*")) if path.is_file()) if folder.is_dir() else iter(())
