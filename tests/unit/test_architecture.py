"""What the folders promise: imports, requirement files, the wheel, the licence. Each check is shown a fault too."""

from __future__ import annotations

import email
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
REQUIREMENT_FILES = ["requirements.txt", "requirements-test.txt"]
AGPL_SHA256 = "0d96a4ff68ad6d4b6f1f30f713b18d5184912ba8dd389f86aa7710db079abcb0"  # gnu.org/licenses/agpl-3.0.txt

# --- Imports --------------------------------------------------------------------------------------------------------


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).parent / "lint-imports"
    return subprocess.run(
        [str(program), "--no-cache", "--no-logo", "--config", str(ROOT / "pyproject.toml")],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A folder with a copy of the package, to plant a fault in."""
    shutil.copytree(ROOT / "mailer", tmp_path / "mailer", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_imports_go_down_only_and_each_library_has_one_door() -> None:
    checked = lint_imports(ROOT)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize(
    ("module", "fault", "contract"),
    [
        ("model/planted.py", "import mailer.crypto", "Imports go down only"),
        ("inward/planted.py", "import mailer.outward", "Imports go down only"),
        ("planted.py", "", "Imports go down only"),
        ("store/planted.py", "import mailer.config", "Parts get the values"),
        ("outward/planted.py", "import mailer.config", "Parts get the values"),
        ("outward/planted.py", "import aiosmtpd.smtp", "One door: aiosmtpd"),
        ("doctor/planted.py", "import dns.resolver", "One door each way: dnspython"),
        ("letters/planted.py", "import dkim", "One door each way: dkimpy"),
        ("inward/planted.py", "import aiosmtplib", "One door: aiosmtplib"),
        ("outward/planted.py", "import python_socks", "One door: python_socks"),
        ("app.py", "import sqlalchemy", "One door: SQLAlchemy"),
        ("inward/planted.py", "import jinja2", "One door: jinja2"),
        ("letters/planted.py", "import pysequoia", "One door: pysequoia"),
        ("letters/planted.py", "from cryptography import x509", "One door: cryptography"),
        ("outward/planted.py", "import prometheus_client", "One door: prometheus-client"),
        ("model/planted.py", "import pydantic", "One door: pydantic"),
        ("store/planted.py", "import rich", "One door: typer and rich"),
    ],
)
def test_a_planted_import_is_found(module: str, fault: str, contract: str, copied: Path) -> None:
    with (copied / "mailer" / module).open("a", encoding="utf-8") as file:
        file.write(f"\n{fault}\n")
    checked = lint_imports(copied)
    assert checked.returncode != 0
    assert re.search(rf"^{re.escape(contract)}.* BROKEN", checked.stdout, re.MULTILINE), checked.stdout


# --- Requirements ---------------------------------------------------------------------------------------------------


def requirements(text: str) -> dict[str, list[str]]:
    """Return each pinned package, "name==version", with its hashes; ValueError for a line that is neither."""
    found: dict[str, list[str]] = {}
    for line in re.sub(r"\\\n", " ", re.sub(r"(?m)^\s*#.*\n", "", text)).splitlines():
        match = re.fullmatch(
            r"([a-z0-9-]+(?:\[[a-z,-]+\])?==[0-9][\w.]*)( ; [^@:]+?)?((?: +--hash=sha256:[0-9a-f]{64})+) *", line
        )
        if not match:
            raise ValueError(line)
        found[match[1]] = match[3].split()
    return found


@pytest.mark.parametrize("name", REQUIREMENT_FILES)
def test_every_requirement_is_pinned_with_hashes_and_no_line_names_an_index(name: str) -> None:
    assert len(requirements((ROOT / name).read_text(encoding="utf-8"))) > 20


@pytest.mark.parametrize(
    "fault",
    [
        "--index-url https://index.example/simple\n",
        "--extra-index-url file:///srv/simple\n",
        "--find-links /srv/wheels\n",
        "rich @ https://example.org/rich.whl\n",
        "rich==15.0.0\n",
        "rich>=15 --hash=sha256:" + 64 * "0" + "\n",
        "-e .\n",
    ],
)
def test_a_planted_line_in_a_requirement_file_is_found(fault: str) -> None:
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(fault.strip())):
        requirements(text + fault)


@pytest.mark.parametrize("name", REQUIREMENT_FILES)
def test_no_comment_in_a_requirement_file_names_a_machine(name: str) -> None:
    assert not re.findall(r"://|[ =]/\w|@", (ROOT / name).read_text(encoding="utf-8"))


def test_each_dependency_is_pinned_at_or_above_its_floor() -> None:
    pins = dict(pin.split("==") for pin in requirements((ROOT / "requirements.txt").read_text(encoding="utf-8")))
    for dependency in PROJECT["project"]["dependencies"]:
        name, floor = re.sub(r"\[.*\]", "", dependency).split(">=")
        assert numbers(pins[name]) >= numbers(floor), dependency


def test_the_test_requirements_hold_the_runtime_requirements_unchanged() -> None:
    runtime, test = (requirements((ROOT / name).read_text(encoding="utf-8")) for name in REQUIREMENT_FILES)
    assert runtime.items() <= test.items()


def test_this_environment_is_the_pinned_one() -> None:
    pins = dict(pin.split("==") for pin in requirements((ROOT / "requirements.txt").read_text(encoding="utf-8")))
    names = [re.split(r"[\[>]", dependency)[0] for dependency in PROJECT["project"]["dependencies"]]
    assert {name: version(name) for name in names} == {name: pins[name] for name in names}


def numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text))


# --- The wheel ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without a network from what is in the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    environment = {**os.environ, "PIP_CONFIG_FILE": os.devnull}
    subprocess.run([*command, "--wheel-dir", str(folder), str(ROOT)], env=environment, check=True, capture_output=True)
    [path] = folder.glob("*.whl")
    return path


def test_the_wheel_holds_every_template_the_configuration_and_the_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        assert archive.read("mailer/config.toml") == (ROOT / "config.toml").read_bytes()
    templates = {path.relative_to(ROOT) for path in (ROOT / "templates").rglob("*") if path.is_file()}
    assert templates
    assert {f"mailer/{path}" for path in templates} <= names
    assert f"mailer-{PROJECT['project']['version']}.dist-info/licenses/LICENSE" in names


def test_the_wheel_holds_every_module_and_nothing_else_of_the_checkout(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "mailer").rglob("*.py")}
    assert modules <= set(names)
    assert {name.split("/")[0] for name in names} == {"mailer", f"mailer-{PROJECT['project']['version']}.dist-info"}


def test_the_wheel_says_its_version_licence_and_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        folder = f"mailer-{PROJECT['project']['version']}.dist-info"
        metadata = email.message_from_bytes(archive.read(f"{folder}/METADATA"))
        entry_points = archive.read(f"{folder}/entry_points.txt").decode()
    assert (metadata["Version"], metadata["License-Expression"]) == (version("mailer"), "AGPL-3.0-or-later")
    assert "mailer = mailer.cli.main:app" in entry_points


# --- The rest -------------------------------------------------------------------------------------------------------


def test_the_version_is_the_newest_in_the_changelog() -> None:
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == PROJECT["project"]["version"] == version("mailer")


def test_the_licence_is_the_agpl_word_for_word() -> None:
    assert hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == AGPL_SHA256


def test_git_ignores_whatever_is_put_into_the_folder_of_keys() -> None:
    command = ["git", "-C", str(ROOT), "check-ignore", "--quiet", "--no-index"]
    assert subprocess.run([*command, "keys/service.key"], check=False).returncode == 0
    assert subprocess.run([*command, "keys/README.md"], check=False).returncode == 1


def test_the_ci_script_can_be_run() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    subprocess.run(["bash", "-n", str(ROOT / ".ci" / "run")], check=True)
