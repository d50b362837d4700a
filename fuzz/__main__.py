"""`python -m fuzz`: every target in a process of its own. `python -m fuzz TARGET [FILE…]`: one of them, or some inputs.

Exit code 1 for a finding.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import sys
from pathlib import Path

from fuzz import seeds

HERE = Path(__file__).parent
LONGEST_OCTETS = 32 * 1024
SLOWEST_S = 10
MOST_MB = 1024


def main() -> int:
    """Read the command line and fuzz."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("target", nargs="?", choices=sorted(seeds.FOLDERS))
    parser.add_argument("file", nargs="*", type=Path, help="inputs to try once")
    parser.add_argument("--seconds", type=int, default=60, help="in all")
    told = parser.parse_args()
    if told.target is None:
        return _all_of_them(told.seconds)
    if told.file:
        return _try(told.target, told.file)
    return _fuzz(told.target, told.seconds)


def _all_of_them(seconds: int) -> int:
    """Share the time out; go on after a finding, so that one run shows them all."""
    share = max(1, seconds // len(seeds.FOLDERS))
    wrong = [name for name in seeds.FOLDERS if not _holds(name, share)]
    print(f"fuzz: {', '.join(wrong)}: look into {HERE / 'found'}" if wrong else "fuzz: nothing found", flush=True)
    return 1 if wrong else 0


def _holds(name: str, seconds: int) -> bool:
    """Fuzz one target; what the library says is told of a finding alone, and else in one line."""
    command = [sys.executable, "-m", "fuzz", name, "--seconds", str(seconds)]
    ended = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    tried = re.search(r"number_of_executed_units:\s*(\d+)", ended.stderr)
    print(f"fuzz: {name}: {tried[1] if tried else 'no'} inputs in {seconds} s", flush=True)
    if ended.returncode:
        print(ended.stdout[-4000:], ended.stderr[-4000:], sep="\n", flush=True)
    return ended.returncode == 0


def _try(name: str, files: list[Path]) -> int:
    from fuzz.targets import TARGETS

    for path in files:
        TARGETS[name](path.read_bytes())
    return 0


def _fuzz(name: str, seconds: int) -> int:
    import atheris

    with atheris.instrument_imports(include=["mailer"]):
        from fuzz.targets import TARGETS
    corpus, found = HERE / "corpus" / name, HERE / "found"
    corpus.mkdir(parents=True, exist_ok=True)
    found.mkdir(exist_ok=True)
    for seed in seeds.of(name):
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={LONGEST_OCTETS}",
        f"-timeout={SLOWEST_S}",
        f"-rss_limit_mb={MOST_MB}",
        f"-artifact_prefix={found}/{name}-",
        "-verbosity=0",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], TARGETS[name])
    atheris.Fuzz()  # ends the process, with an exit code of its own
    return 0


sys.exit(main())
