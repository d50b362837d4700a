from __future__ import annotations

import fcntl
import json
import os
import signal
import stat
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.crypto import keyfile
from mailer.crypto.aead import new_key, seal
from mailer.crypto.hybrid import HybridPrivate
from mailer.crypto.keyfile import KeyFile, private_file, slots
from mailer.crypto.keyfile.passphrase import SLOT_KDF, SlotKdf, read_passphrase
from mailer.crypto.payload import encode
from mailer.errors import VaultError, WrongPassphrase

VECTOR: dict[str, Any] = json.loads((Path(__file__).parent / "vectors" / "keyfile-1.json").read_text(encoding="utf-8"))
CHEAP = SlotKdf(memory_kib=8, iterations=1, lanes=1)
FIRST, SECOND, THIRD = "correct horse battery", "staple under the bridge", "a third phrase, long enough"
PAYLOAD = {"a secret": "c2VjcmV0", "number": 7}

Edit = Callable[[dict[str, Any]], object]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "service.key"


@pytest.fixture
def made(path: Path) -> KeyFile:
    return keyfile.create(path, "service", PAYLOAD, {"first": FIRST, "second": SECOND}, CHEAP)


def edit(path: Path, change: Edit) -> None:
    file = json.loads(path.read_text(encoding="ascii"))
    change(file)
    path.write_text(json.dumps(file, indent=1), encoding="ascii")


# --- What does not open ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "passphrase", [FIRST.upper(), FIRST[:-1], FIRST + "!", "x", "k" * 10_000, "correct  horse battery"]
)
def test_a_wrong_passphrase_opens_nothing(made: KeyFile, passphrase: str) -> None:
    with pytest.raises(WrongPassphrase):
        keyfile.open_file(made.path, "service", passphrase)


@pytest.mark.parametrize("passphrase", ["", " ", "\n", "\ufeff\r\n", "\u3000"])
def test_an_empty_passphrase_is_named_as_such(made: KeyFile, passphrase: str) -> None:
    with pytest.raises(VaultError, match="empty"):
        keyfile.open_file(made.path, "service", passphrase)
    with pytest.raises(VaultError, match="empty"):
        made.add_slot("third", passphrase, CHEAP)


def test_a_passphrase_that_is_no_text_is_refused(made: KeyFile) -> None:
    with pytest.raises(VaultError, match="UTF-8"):
        keyfile.open_file(made.path, "service", "half a character: \udce9")


def test_a_key_file_of_one_purpose_is_not_taken_for_the_other(made: KeyFile) -> None:
    with pytest.raises(VaultError, match="another purpose"):
        keyfile.open_file(made.path, "roster", FIRST)
    edit(made.path, lambda file: file.update(purpose="roster"))
    with pytest.raises(WrongPassphrase):
        keyfile.open_file(made.path, "roster", FIRST)


def test_no_byte_of_a_key_file_can_be_changed_unseen(path: Path) -> None:
    keyfile.create(path, "service", PAYLOAD, {"first": FIRST}, CHEAP)
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << at % 7)]) + whole[at + 1 :])
        try:
            assert keyfile.open_file(path, "service", FIRST).payload == PAYLOAD
        except VaultError:
            continue
        assert whole[at : at + 1].isspace()  # between the values, where it carries nothing


@pytest.mark.parametrize("field", ["name", "kdf", "salt", "wrapped", "public"])
def test_a_slot_cannot_be_changed_unseen_by_those_who_use_another(made: KeyFile, field: str) -> None:
    def change(file: dict[str, Any]) -> None:
        slot = file["slots"][1]
        if field == "kdf":
            slot["kdf"]["iterations"] += 1
        else:
            slot[field] = ("b" if slot[field][0] == "a" else "a") + slot[field][1:]

    edit(made.path, change)
    with pytest.raises(VaultError, match="altered"):
        keyfile.open_file(made.path, "service", FIRST)


def test_a_key_file_cut_short_is_refused(made: KeyFile) -> None:
    whole = made.path.read_bytes().removesuffix(b"\n")
    for length in range(0, len(whole), 7):
        made.path.write_bytes(whole[:length])
        with pytest.raises(VaultError):
            keyfile.open_file(made.path, "service", FIRST)


@pytest.mark.parametrize(
    "content",
    [b"null", b"[]", b"7", b"\xff", b"[" * 100_000, b'{"format": ' + b"7" * 10_000 + b"}", b"{}", b'{"a": 1, "a": 1}'],
)
def test_what_is_no_key_file_is_refused(made: KeyFile, content: bytes) -> None:
    made.path.write_bytes(content)
    with pytest.raises(VaultError, match=r"service\.key"):
        keyfile.open_file(made.path, "service", FIRST)


def test_a_name_that_occurs_twice_is_refused(made: KeyFile) -> None:
    made.path.write_bytes(made.path.read_bytes().replace(b'"purpose"', b'"purpose": "roster", "purpose"'))
    with pytest.raises(VaultError, match="twice"):
        keyfile.open_file(made.path, "service", FIRST)


MALFORMED: dict[str, Edit] = {
    "an unknown name": lambda file: file.update(comment="mine"),
    "another format": lambda file: file.update(format="mailer-key-file-2"),
    "no purpose": lambda file: file.update(purpose=None),
    "slots that are no list": lambda file: file.update(slots={}),
    "no slot": lambda file: file.update(slots=[]),
    "a slot that is no object": lambda file: file.update(slots=[7]),
    "too many slots": lambda file: file.update(slots=file["slots"] * 9),
    "a slot twice": lambda file: file.update(slots=file["slots"] * 2),
    "a slot with an unknown name": lambda file: file["slots"][0].update(comment="mine"),
    "a slot without salt": lambda file: file["slots"][0].pop("salt"),
    "a short salt": lambda file: file["slots"][0].update(salt="AAAA"),
    "a slot named badly": lambda file: file["slots"][0].update(name="../first"),
    "a slot named by a number": lambda file: file["slots"][0].update(name=7),
    "a public half cut short": lambda file: file["slots"][0].update(public="AAAA"),
    "base64 with a line break": lambda file: file.update(sealed=file["sealed"] + "\n"),
    "base64 in another spelling": lambda file: file["slots"][0].update(salt=file["slots"][0]["salt"][:-3] + "B=="),
    "another derivation": lambda file: file["slots"][0]["kdf"].update(name="scrypt"),
    "lanes that are no number": lambda file: file["slots"][0]["kdf"].update(lanes="1"),
    "lanes that are true": lambda file: file["slots"][0]["kdf"].update(lanes=True),
    "iterations that are a fraction": lambda file: file["slots"][0]["kdf"].update(iterations=1.0),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_key_file_is_refused(made: KeyFile, name: str) -> None:
    edit(made.path, MALFORMED[name])
    with pytest.raises(VaultError, match=r"service\.key") as caught:
        keyfile.open_file(made.path, "service", FIRST)
    assert not isinstance(caught.value, WrongPassphrase)


@pytest.mark.parametrize(
    "demand",
    [
        {"memory_kib": 100 * 1024 * 1024},
        {"memory_kib": 256 * 1024 + 1},
        {"memory_kib": 7},
        {"memory_kib": -8},
        {"memory_kib": 10**30},
        {"iterations": 11},
        {"iterations": 0},
        {"lanes": 17},
        {"lanes": 0},
        {"lanes": 2},  # Argon2 wants 8 KiB for each
    ],
)
def test_a_hostile_key_file_cannot_demand_unreasonable_work(made: KeyFile, demand: dict[str, int]) -> None:
    edit(made.path, lambda file: file["slots"][1]["kdf"].update(demand))
    with pytest.raises(VaultError, match="unreasonable"):
        keyfile.open_file(made.path, "service", FIRST)


def test_a_slot_whose_work_was_made_cheaper_does_not_open(path: Path) -> None:
    keyfile.create(path, "service", PAYLOAD, {"first": FIRST}, SlotKdf(memory_kib=16, iterations=1, lanes=1))
    edit(path, lambda file: file["slots"][0]["kdf"].update(memory_kib=8))
    with pytest.raises(WrongPassphrase):
        keyfile.open_file(path, "service", FIRST)


def test_a_public_half_put_into_a_slot_by_somebody_else_gets_no_file_key(made: KeyFile) -> None:
    stranger = encode(HybridPrivate.generate().public_raw)
    edit(made.path, lambda file: file["slots"][1].update(public=stranger))
    with pytest.raises(VaultError, match="altered"):
        keyfile.open_file(made.path, "service", FIRST)


def test_a_whole_content_made_by_somebody_without_a_passphrase_is_refused(made: KeyFile) -> None:
    file_key, known = new_key(), made._slots
    forged = seal(slots.content_key(file_key, b"", "service"), b"{}", slots.content_label("service", known))

    def forge(file: dict[str, Any]) -> None:
        file.update(sealed=encode(forged), slots=[slot.to_json("service", file_key) for slot in known])

    edit(made.path, forge)
    with pytest.raises(VaultError, match="altered"):
        keyfile.open_file(made.path, "service", FIRST)


# --- Where it lies --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o660, 0o644, 0o610, 0o777])
def test_a_key_file_that_others_can_read_is_refused_and_chmod_named(made: KeyFile, mode: int) -> None:
    made.path.chmod(mode)
    for use in (lambda: keyfile.open_file(made.path, "service", FIRST), lambda: made.save({})):
        with pytest.raises(VaultError, match=f"chmod 600 {made.path}"):
            use()


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_key_file_that_its_owner_alone_can_read_is_opened(made: KeyFile, mode: int) -> None:
    made.path.chmod(mode)
    assert keyfile.open_file(made.path, "service", FIRST).payload == PAYLOAD


def test_a_key_file_that_is_missing_a_folder_or_a_pipe_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir(mode=0o700)
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name, reason in (("missing", "No such file"), ("folder", "folder"), ("pipe", "not an ordinary file")):
        with pytest.raises(VaultError, match=reason):
            keyfile.open_file(tmp_path / name, "service", FIRST)


def test_a_file_too_large_to_be_a_key_file_is_not_read(path: Path) -> None:
    path.touch(mode=0o600)
    os.truncate(path, private_file.LARGEST_BYTES + 1)
    with pytest.raises(VaultError, match="too large"):
        keyfile.slot_names(path)


def test_a_key_file_is_never_overwritten_by_a_new_one(made: KeyFile, tmp_path: Path) -> None:
    before = made.path.read_bytes()
    (tmp_path / "dangling.key").symlink_to(tmp_path / "elsewhere")
    for taken in (made.path, tmp_path / "dangling.key"):
        with pytest.raises(VaultError, match="exists already"):
            keyfile.create(taken, "service", {}, {"first": THIRD}, CHEAP)
    assert made.path.read_bytes() == before
    assert not (tmp_path / "elsewhere").exists()


def test_a_key_file_in_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VaultError, match="No such file"):
        keyfile.create(tmp_path / "nowhere" / "service.key", "service", {}, {"first": FIRST}, CHEAP)


def test_a_new_key_file_is_for_its_owner_alone_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        keyfile.create(path, "service", PAYLOAD, {"first": FIRST}, CHEAP).save({})
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["service.key"]


def test_a_symbolic_link_to_a_key_file_stays_one(made: KeyFile, tmp_path: Path) -> None:
    link = tmp_path / "elsewhere" / "linked.key"
    link.parent.mkdir()
    link.symlink_to(made.path)
    keyfile.open_file(link, "service", FIRST).save({"through": "the link"})
    assert link.is_symlink()
    assert keyfile.open_file(made.path, "service", FIRST).payload == {"through": "the link"}


def test_a_change_made_by_another_command_in_between_is_not_undone(made: KeyFile) -> None:
    other = keyfile.open_file(made.path, "service", SECOND)
    other.save({"list": "new"})
    changes: list[Callable[[], None]] = [lambda: made.save({}), lambda: made.remove_slot("second")]
    for change in changes:
        with pytest.raises(VaultError, match="changed by another command"):
            change()
    assert keyfile.open_file(made.path, "service", FIRST).payload == {"list": "new"}
    assert made.payload == PAYLOAD


def test_two_commands_cannot_write_at_the_same_moment(made: KeyFile, monkeypatch: pytest.MonkeyPatch) -> None:
    put, tried = private_file._put, []

    def put_while_another_tries(path: Path, content: bytes) -> None:
        other = os.open(path.parent, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(other)
        tried.append(path)
        put(path, content)

    monkeypatch.setattr(private_file, "_put", put_while_another_tries)
    made.save({})
    assert tried == [made.path]


# --- Stopped in the middle ------------------------------------------------------------------------------------------


class Stopped(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("step", ["os.open", "os.fchown", "os.fsync", "pathlib.Path.replace"])
def test_stopped_before_any_step_of_a_save_the_old_file_is_there(
    made: KeyFile, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def stop(*_: object, **__: object) -> NoReturn:
        raise Stopped

    with monkeypatch.context() as patched:
        patched.setattr(step, stop)
        with pytest.raises(Stopped):
            made.save({"content": "new"})
    assert keyfile.open_file(made.path, "service", FIRST).payload == PAYLOAD
    made.save({"content": "new"})  # and what lies there of the first attempt is in nobody's way
    assert keyfile.open_file(made.path, "service", FIRST).payload == {"content": "new"}
    assert [entry.name for entry in made.path.parent.iterdir()] == ["service.key"]


def test_on_a_full_disk_the_old_file_stays(made: KeyFile, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> NoReturn:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", refuse)
        with pytest.raises(VaultError, match="No space left"):
            made.save({})
    assert keyfile.open_file(made.path, "service", FIRST).payload == PAYLOAD


SAVE_FOR_EVER = """
import sys
from pathlib import Path
from mailer.crypto import keyfile
file = keyfile.open_file(Path(sys.argv[1]), "service", sys.argv[2])
number = int(file.payload["number"])
while True:
    number += 1
    file.save({"number": number})
    print(number, flush=True)
"""


def test_killed_at_any_moment_the_old_or_the_new_file_is_there(made: KeyFile) -> None:
    for saves in range(1, 6):
        command = [sys.executable, "-c", SAVE_FOR_EVER, str(made.path), FIRST]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as child:
            assert child.stdout is not None
            seen = [int(child.stdout.readline()) for _ in range(saves)]
            child.send_signal(signal.SIGKILL)
            seen += [int(line) for line in child.stdout.read().splitlines()]
        number = keyfile.open_file(made.path, "service", FIRST).payload["number"]
        assert number in (seen[-1], seen[-1] + 1)


# --- Slots ----------------------------------------------------------------------------------------------------------


def test_a_removed_slot_opens_no_more(made: KeyFile) -> None:
    assert keyfile.open_file(made.path, "service", SECOND).opened_by == "second"
    made.remove_slot("second")
    with pytest.raises(WrongPassphrase):
        keyfile.open_file(made.path, "service", SECOND)
    assert keyfile.open_file(made.path, "service", FIRST).payload == PAYLOAD
    assert made.slot_names == keyfile.slot_names(made.path) == ("first",)


def test_a_removed_slot_put_back_from_an_old_copy_does_not_open_what_was_saved_since(made: KeyFile) -> None:
    old = json.loads(made.path.read_text(encoding="ascii"))
    made.remove_slot("second")
    made.save({"rotated": "since"})
    edit(made.path, lambda file: file["slots"].append(old["slots"][1]))
    with pytest.raises(VaultError, match="altered"):
        keyfile.open_file(made.path, "service", SECOND)


def test_the_file_key_of_an_old_copy_is_not_that_of_the_next(made: KeyFile) -> None:
    pair, pledge = made._slots[1].open("service", SECOND)

    def file_key_for_second() -> bytes:
        (sealed,) = [key for slot, key in keyfile._parse(made.path.read_bytes()).slots if slot.name == "second"]
        return pair.decrypt(sealed, slots.file_key_label("service", "second"))

    first = file_key_for_second()
    made.save(PAYLOAD)
    assert file_key_for_second() != first
    assert pledge == made._pledge


def test_the_last_slot_cannot_be_removed(made: KeyFile) -> None:
    made.remove_slot("first")
    with pytest.raises(VaultError, match="nobody could open it"):
        made.remove_slot("second")
    assert keyfile.open_file(made.path, "service", SECOND).slot_names == ("second",)


def test_a_slot_that_is_not_there_is_named_with_those_that_are(made: KeyFile) -> None:
    changes: list[Callable[[], None]] = [
        lambda: made.remove_slot("third"),
        lambda: made.change_slot("third", THIRD, CHEAP),
    ]
    for change in changes:
        with pytest.raises(VaultError, match="It has: first, second"):
            change()


def test_a_name_that_is_taken_too_odd_or_one_too_many_is_refused(made: KeyFile) -> None:
    for name in ("first", "", "First", "a b", "-a", "a" * 33, "å", "a\n"):
        with pytest.raises(VaultError, match="slot"):
            made.add_slot(name, THIRD, CHEAP)
    for number in range(3, slots.MOST_SLOTS + 1):
        made.add_slot(f"slot-{number}", THIRD, CHEAP)
    with pytest.raises(VaultError, match="1 to 16 slots"):
        made.add_slot("seventeenth", THIRD, CHEAP)


def test_a_key_file_without_a_slot_is_not_made(path: Path) -> None:
    with pytest.raises(VaultError, match="1 to 16 slots"):
        keyfile.create(path, "service", {}, {}, CHEAP)
    assert not path.exists()


@pytest.mark.parametrize("passphrase", ["elevencharz", "   elevencharz   ", "\uff11" * 11])
def test_a_new_passphrase_that_is_too_short_is_refused(made: KeyFile, path: Path, passphrase: str) -> None:
    for change in (
        lambda: made.add_slot("third", passphrase, CHEAP),
        lambda: made.change_slot("first", passphrase, CHEAP),
        lambda: keyfile.create(path.with_name("new.key"), "service", {}, {"first": passphrase}, CHEAP),
    ):
        with pytest.raises(VaultError, match="at least 12 characters"):
            change()
    assert not path.with_name("new.key").exists()


def test_a_slot_made_with_unreasonable_work_is_refused(made: KeyFile) -> None:
    with pytest.raises(VaultError, match="unreasonable"):
        made.add_slot("third", THIRD, SlotKdf(memory_kib=1024 * 1024, iterations=3, lanes=4))


def test_a_slot_added_or_changed_opens_for_its_new_passphrase_alone(made: KeyFile) -> None:
    made.add_slot("third", THIRD, CHEAP)
    assert keyfile.open_file(made.path, "service", THIRD).opened_by == "third"
    made.change_slot("third", "another phrase altogether", CHEAP)
    assert keyfile.open_file(made.path, "service", "another phrase altogether").opened_by == "third"
    with pytest.raises(WrongPassphrase):
        keyfile.open_file(made.path, "service", THIRD)
    assert made.slot_names == ("first", "second", "third")


def test_every_slot_opens_what_another_has_saved(made: KeyFile) -> None:
    keyfile.open_file(made.path, "service", SECOND).save({"by": "second"})
    assert keyfile.open_file(made.path, "service", FIRST).payload == {"by": "second"}


def test_nothing_secret_shows_in_the_file_or_in_a_traceback(made: KeyFile) -> None:
    content = made.path.read_text(encoding="ascii")
    assert not any(secret in content for secret in (FIRST, "c2VjcmV0", "a secret", encode(made._pledge)))
    assert repr(made) == "KeyFile(service)"
    assert "pledge" not in repr(made._slots)


def test_two_saves_of_one_content_differ(made: KeyFile) -> None:
    before = json.loads(made.path.read_text(encoding="ascii"))
    made.save(PAYLOAD)
    after = json.loads(made.path.read_text(encoding="ascii"))
    assert before["sealed"] != after["sealed"]
    assert before["slots"][0]["file_key"] != after["slots"][0]["file_key"]
    assert before["slots"][0]["wrapped"] == after["slots"][0]["wrapped"]


# --- Passphrases as people type them --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sloppily",
    [
        str.upper,
        lambda phrase: phrase.replace("-", " "),
        lambda phrase: phrase.replace("-", ""),
        lambda phrase: f"  {phrase}\r\n",
        lambda phrase: phrase.replace("-", " \u2014 "),
        lambda phrase: phrase.replace("-", ". "),
        lambda phrase: phrase.replace("0", "O").replace("1", "l"),
        lambda phrase: phrase.replace("1", "I"),
        lambda phrase: "\n".join(phrase.split("-")),
        lambda phrase: "".join(chr(ord(c) + 0xFEE0) for c in phrase),  # full width, as a Chinese keyboard types it
    ],
)
def test_a_recovery_phrase_typed_sloppily_opens(path: Path, sloppily: Callable[[str], str]) -> None:
    phrase = keyfile.recovery_phrase(lambda length: bytes(range(length)))
    assert phrase == "01234-56789-abcde-fghjk-mnpqr-stvwx"
    keyfile.create(path, "service", PAYLOAD, {"first": FIRST, "recovery": phrase}, CHEAP)
    assert keyfile.open_file(path, "service", sloppily(phrase)).opened_by == "recovery"


@pytest.mark.parametrize(
    "change", [lambda phrase: phrase[:-1], lambda phrase: phrase + "0", lambda phrase: phrase[::-1]]
)
def test_another_recovery_phrase_does_not_open(path: Path, change: Callable[[str], str]) -> None:
    phrase = keyfile.recovery_phrase(os.urandom)
    keyfile.create(path, "service", PAYLOAD, {"recovery": phrase}, CHEAP)
    with pytest.raises(WrongPassphrase):
        keyfile.open_file(path, "service", change(phrase))


@given(st.binary(min_size=30, max_size=30))
def test_a_recovery_phrase_has_six_groups_that_need_150_bits_of_chance(raw: bytes) -> None:
    phrase = keyfile.recovery_phrase(lambda length: raw[:length])
    assert [len(group) for group in phrase.split("-")] == [5] * 6
    assert read_passphrase(phrase) == read_passphrase(phrase.upper()) == phrase
    changed = bytes([raw[0] ^ 1]) + raw[1:]
    assert keyfile.recovery_phrase(lambda length: changed[:length]) != phrase


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
def test_a_passphrase_opens_however_the_keyboard_composes_its_letters(path: Path, form: Any) -> None:
    passphrase = "Ångström über 長城 ﬁne"
    keyfile.create(path, "service", PAYLOAD, {"first": passphrase}, CHEAP)
    typed = unicodedata.normalize(form, passphrase)
    assert keyfile.open_file(path, "service", typed).payload == PAYLOAD
    assert keyfile.open_file(path, "service", f"\ufeff{typed} \r\n").payload == PAYLOAD


@given(st.text())
def test_reading_a_passphrase_twice_changes_nothing(typed: str) -> None:
    try:
        once = read_passphrase(typed)
    except VaultError:
        return
    assert read_passphrase(once) == once


# --- The real thing -------------------------------------------------------------------------------------------------


def test_new_slots_take_the_work_that_rfc_9106_recommends(path: Path) -> None:
    assert SlotKdf(memory_kib=65536, iterations=3, lanes=4) == SLOT_KDF
    keyfile.create(path, "service", PAYLOAD, {"first": FIRST})
    assert keyfile.open_file(path, "service", FIRST).payload == PAYLOAD
    kdf = json.loads(path.read_text(encoding="ascii"))["slots"][0]["kdf"]
    assert kdf == {"name": "argon2id", "memory_kib": 65536, "iterations": 3, "lanes": 4}


def test_a_key_file_of_an_earlier_release_still_opens_and_can_be_changed(path: Path) -> None:
    for name, passphrase in VECTOR["passphrases"].items():
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text(VECTOR["file"], encoding="ascii")
        opened = keyfile.open_file(path, VECTOR["purpose"], passphrase)
        assert (opened.opened_by, opened.payload) == (name, VECTOR["payload"])
        opened.save({"answer": 43})
        assert keyfile.open_file(path, VECTOR["purpose"], passphrase).payload == {"answer": 43}
