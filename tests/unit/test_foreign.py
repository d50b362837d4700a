"""Exports of other list managers, as they write them; who is in them, and who is left out."""

from __future__ import annotations

import json

import pytest

from mailer.errors import SheetUnusable
from mailer.registrar import foreign
from mailer.registrar.foreign import Dialect

FINGERPRINT = "59C71FB38AEE22E091C78259D06350440F759BD3"

MAILMAN_2 = "anna@example.net\nBen.B@example.net\n"
MAILMAN_3 = 'Anna Au <anna@example.net>\n"Ben, B." <Ben.B@example.net>\n\ncara@example.net\n'
MAILMAN_JSON = json.dumps(
    {
        "start": 0,
        "total_size": 2,
        "entries": [
            {"email": "anna@example.net", "delivery_mode": "regular", "display_name": "Anna"},
            {"email": "ben@example.net", "delivery_mode": "none"},
        ],
    }
)
SCHLEUDER = f"anna@example.net\t0x{FINGERPRINT}\tadmin\nben@example.net\n"
SCHLEUDER_JSON = json.dumps(
    [
        {"email": "anna@example.net", "fingerprint": FINGERPRINT, "admin": True, "delivery_enabled": True},
        {"email": "ben@example.net", "fingerprint": None, "admin": False, "delivery_enabled": False},
    ]
)
SYMPA = """\
date 1262304000
email anna@example.net
gecos Anna Au
reception mail
visibility noconceal

email ben@example.net
reception nomail
subscribed 1
"""
LISTMONK = (
    "uuid,email,name,attributes,status,created_at,updated_at\n"
    'a1,anna@example.net,Anna,"{""city"": ""HK""}",enabled,2024-01-01,2024-01-01\n'
    "a2,ben@example.net,Ben,{},blocklisted,2024-01-01,2024-01-01\n"
    "a3,cara@example.net,Cara,{},enabled,2024-01-01,2024-01-01\n"
)


def people(found: foreign.Read) -> list[tuple[int, str, str, str]]:
    return [
        (row.line, row.cells["address"], row.cells.get("state", ""), row.cells.get("fingerprint", ""))
        for row in found.rows
    ]


@pytest.mark.parametrize(
    ("text", "dialect", "expected", "left_out"),
    [
        (MAILMAN_2, Dialect.MAILMAN, [(1, "anna@example.net", "", ""), (2, "Ben.B@example.net", "", "")], 0),
        (
            MAILMAN_3,
            Dialect.MAILMAN,
            [(1, "anna@example.net", "", ""), (2, "Ben.B@example.net", "", ""), (4, "cara@example.net", "", "")],
            0,
        ),
        (MAILMAN_JSON, Dialect.MAILMAN, [(1, "anna@example.net", "", ""), (2, "ben@example.net", "paused", "")], 0),
        (
            SCHLEUDER,
            Dialect.SCHLEUDER,
            [(1, "anna@example.net", "", f"0x{FINGERPRINT}"), (2, "ben@example.net", "", "")],
            0,
        ),
        (
            SCHLEUDER_JSON,
            Dialect.SCHLEUDER,
            [(1, "anna@example.net", "", FINGERPRINT), (2, "ben@example.net", "paused", "")],
            0,
        ),
        (SYMPA, Dialect.SYMPA, [(1, "anna@example.net", "", ""), (7, "ben@example.net", "paused", "")], 0),
        (LISTMONK, Dialect.LISTMONK, [(2, "anna@example.net", "", ""), (4, "cara@example.net", "", "")], 1),
    ],
    ids=["Mailman 2", "Mailman 3", "Mailman REST", "Schleuder", "Schleuder API", "Sympa", "listmonk"],
)
@pytest.mark.parametrize("is_told", [False, True])
def test_each_kind_is_recognised_and_read(
    text: str, dialect: Dialect, expected: list[tuple[int, str, str, str]], left_out: int, is_told: bool
) -> None:
    for content in (text, "\ufeff" + text, text.replace("\n", "\r\n")):
        found = foreign.read(content.encode(), dialect if is_told else None)
        assert (found.dialect, found.left_out) == (dialect, left_out)
        assert people(found) == expected


def test_our_own_csv_is_still_our_own() -> None:
    found = foreign.read(b"address,language\nanna@example.net,zh-Hant\n")
    assert found.dialect is Dialect.CSV
    assert found.rows[0].cells == {"address": "anna@example.net", "language": "zh-Hant"}


def test_names_and_attributes_are_left_behind() -> None:
    for text in (MAILMAN_3, MAILMAN_JSON, SYMPA, LISTMONK):
        for row in foreign.read(text.encode()).rows:
            assert set(row.cells) <= {"address", "state", "fingerprint"}
            assert "Anna" not in "".join(row.cells.values())


@pytest.mark.parametrize(
    ("text", "dialect"),
    [
        ("[1, 2]", None),
        ("{not json", None),
        ("[]", None),
        ("", Dialect.SYMPA),
        ("uuid,email,status\na,anna@example.net,blocklisted\n", None),
        ("nobody here\n", Dialect.SCHLEUDER),
        ("[" * 100_000, None),
    ],
)
def test_what_holds_nobody_or_is_broken_is_refused(text: str, dialect: Dialect | None) -> None:
    with pytest.raises(SheetUnusable):
        foreign.read(text.encode(), dialect)


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(SheetUnusable):
        foreign.read(b"\xff\xfe\x00\xd8 anna@example.net")
