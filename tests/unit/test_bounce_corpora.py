"""Bounces of others, and what only looks like one: read right nearly always, and never so that a reader is lost."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailer.errors import Unreadable
from mailer.inward.confined import parts, report
from mailer.model.failure import Failure
from mailer.model.report import Kind, Report

# What Sisimai's reasons are for us. "filtered" is theirs for an unknown user whom a filter may have made up.
OURS = {
    **dict.fromkeys(("userunknown", "hostunknown", "hasmoved", "suspend"), (Failure.GONE,)),
    "mailboxfull": (Failure.FULL,),
    **dict.fromkeys(("spamdetected", "policyviolation", "blocked", "rejected", "norelaying"), (Failure.POLICY,)),
    **dict.fromkeys(("mesgtoobig", "notcompliantrfc"), (Failure.POLICY,)),
    "filtered": (Failure.POLICY, Failure.GONE),
    **dict.fromkeys(("authfailure", "securityerror", "requireptr"), (Failure.AUTHENTICATION,)),
    **dict.fromkeys(("expired", "networkerror", "systemerror", "mailererror"), (Failure.TEMPORARY,)),
    **dict.fromkeys(("toomanyconn", "speeding"), (Failure.TEMPORARY,)),
    **dict.fromkeys(("onhold", "syntaxerror"), (Failure.UNKNOWN,)),
}
WELL_ENOUGH = 0.95


def read(path: Path) -> Report | None:
    raw = path.read_bytes()
    bare_returns = raw.count(b"\r") > 3 * raw.count(b"\n")  # the door refuses such letters
    return report.read(parts.read(raw.replace(b"\r", b"\n") if bare_returns else raw))


def labelled(corpora: Path) -> Iterator[tuple[str, Path]]:
    """The reason that a bounce has by its label, for the first recipient, and where it lies."""
    folder = corpora / "bounces-sisimai"
    with (folder / "labels.tsv").open(encoding="utf-8") as labels:
        for row in csv.DictReader(labels, delimiter="\t"):
            found = next((folder / "maildir").glob(f"*/{row['file']}"), None)
            if row["recipient_index"] == "1" and row["reason"] in OURS and found:
                yield row["reason"], found


def test_nearly_all_bounces_have_the_right_class(corpora: Path) -> None:
    wrong, number = [], 0
    for reason, path in labelled(corpora):
        found = read(path)
        number += 1
        if found is None or found.failure not in OURS[reason]:
            wrong.append((path.name, reason, found and found.failures))
    assert number > 90
    assert len(wrong) <= (1 - WELL_ENOUGH) * number, wrong


def test_no_bounce_that_leaves_a_mailbox_alive_counts_against_it(corpora: Path) -> None:
    for reason, path in labelled(corpora):
        found = read(path)
        if found and Failure.GONE not in OURS[reason] and not found.is_delayed:
            assert found.failure is not Failure.GONE, path.name


@pytest.mark.parametrize(
    "folder",
    ["bounces-schleuder/not_bounces", "bounces-sisimai/maildir/not", "autoreplies-real", "ordinary-mail", "zh-mail"],
)
def test_what_is_no_bounce_is_not_read_as_one(folder: str, corpora: Path) -> None:
    letters = [path for path in (corpora / folder).rglob("*") if path.is_file() and path.suffix not in (".md", ".tsv")]
    for path in letters:
        try:
            assert read(path) is None, path
        except Unreadable:
            continue


@pytest.mark.parametrize("folder", ["bounces-flufl/data", "bounces-schleuder/bounces", "bounces-misc/bounceparser"])
def test_bounces_of_old_and_odd_servers_are_known(folder: str, corpora: Path) -> None:
    letters = [path for path in (corpora / folder).iterdir() if path.is_file()]
    known = [found for path in letters if (found := read(path)) and found.kind is Kind.BOUNCE]
    assert len(known) >= 0.85 * len(letters)
