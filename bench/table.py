"""What was found: medians of all rounds, as one table to read and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from bench import limits
from bench.cases import Case, Results
from bench.delivering import Delivered
from bench.door import percentile

STAGES = ("claim", "open", "seal", "relay", "settle")
LEGEND = """\
deliveries/s  from the first claim to the last settlement, seen in the database; below it lowest and highest round
a             bare OpenPGP library, in as many processes: parse the certificate, encrypt a letter's plaintext, armor it
b             Postfix smtp-source to the same sink: letters of the same size over 20 connections that stay open
bound         1/(1/a + 1/b); ratio = deliveries/s divided by it
claim…settle  milliseconds of each stage for each delivery, as the workers count them, waiting included
cpu           milliseconds of processor time of all workers for each delivery
idle          share of all cores' time that nobody used meanwhile; sink: the sink's share of one core
peak          MiB that the largest worker ever held (VmHWM)
"""


def to_json(results: Results, cases: Sequence[Case], machine: dict[str, object]) -> dict[str, Any]:
    """Return everything found, medians first."""
    return {
        "machine": machine,
        "letter_octets": round(results.letter_octets),
        "cases": {
            case.name: _summary(results, case, results.delivered[case.name])
            for case in cases
            if case.name in results.delivered
        },
        "door": {name: _accepted(results, name) for name in results.accepted},
        "limits": {
            "a": {f"{algorithm}-{width}": runs for (algorithm, width), runs in results.a.items()},
            "b": [per_s for per_s, _ in results.b],
            "b_sink_share": [share for _, share in results.b],
        },
        "notes": results.notes,
    }


def _summary(results: Results, case: Case, runs: list[Delivered]) -> dict[str, Any]:
    a = median(results.a[case.register.algorithm, case.width])
    b = median(per_s for per_s, _ in results.b)
    bound = limits.bound(a, b)
    per_s = median(run.per_s for run in runs)
    stages = {stage: [run.stages[stage] for run in runs if stage in run.stages] for stage in STAGES}
    return {
        "end_to_end_per_s": per_s,
        "bound_per_s": bound,
        "ratio": per_s / bound,
        "lowest_per_s": min(run.per_s for run in runs),
        "highest_per_s": max(run.per_s for run in runs),
        "a_per_s": a,
        "b_per_s": b,
        "rounds": len(runs),
        "deliveries": runs[0].number,
        "engine": case.engine,
        "processes": case.width,
        "algorithm": case.register.algorithm,
        "connections": max(run.connections for run in runs),
        "stages_ms": {stage: median(values) for stage, values in stages.items() if values},
        "cpu_ms": median(run.cpu_ms for run in runs),
        "idle": median(run.idle for run in runs),
        "sink_share": median(run.sink_share for run in runs),
        "peak_mib": max(run.peak_mib for run in runs),
        "doubles": sum(run.doubles for run in runs),
        "runs": [run.to_json() for run in runs],
    }


def _accepted(results: Results, name: str) -> dict[str, Any]:
    runs = results.accepted[name]
    waits = sorted(wait for run in runs for wait in run.waits_ms)
    delivered = [run.delivered.per_s for run in runs if run.delivered]
    return {
        "accepted_per_s": median(run.per_s for run in runs),
        "lowest_per_s": min(run.per_s for run in runs),
        "highest_per_s": max(run.per_s for run in runs),
        "p50_ms": percentile(waits, 50),
        "p99_ms": percentile(waits, 99),
        "timed": len(waits),
        "deliveries_per_s": median(delivered) if delivered else None,
    }


# --- To read --------------------------------------------------------------------------------------------------------


def to_text(found: dict[str, Any]) -> str:
    """Return the table, with what it was measured on above it and what its columns mean below."""
    parts = ["".join(f"{name}: {value}\n" for name, value in found["machine"].items())]
    if found["cases"]:
        parts += [_grid(_DELIVERY_HEAD, [_delivery_row(name, one) for name, one in found["cases"].items()]), LEGEND]
    if found["door"]:
        parts += [_grid(_DOOR_HEAD, [_door_row(name, one) for name, one in found["door"].items()])]
    return "\n".join([*parts, *found["notes"]])


_DELIVERY_HEAD = (
    "case", "deliveries/s", "low–high", "rounds", "a", "b", "bound", "ratio", *STAGES, "cpu", "idle", "sink", "peak",
)  # fmt: skip
_DOOR_HEAD = ("case", "letters/s", "low–high", "p50 ms", "p99 ms", "deliveries/s meanwhile")


def _delivery_row(name: str, one: dict[str, Any]) -> list[str]:
    stages = [f"{one['stages_ms'][stage]:.2f}" if stage in one["stages_ms"] else "–" for stage in STAGES]
    rates = [f"{one[key]:.0f}" for key in ("a_per_s", "b_per_s", "bound_per_s")]
    spread = f"{one['lowest_per_s']:.0f}–{one['highest_per_s']:.0f}"
    shares = [f"{one['idle']:.0%}", f"{one['sink_share']:.0%}"]
    head = [name, f"{one['end_to_end_per_s']:.0f}", spread, str(one["rounds"]), *rates, f"{one['ratio']:.0%}"]
    return [*head, *stages, f"{one['cpu_ms']:.2f}", *shares, f"{one['peak_mib']:.0f}"]


def _door_row(name: str, one: dict[str, Any]) -> list[str]:
    spread = f"{one['lowest_per_s']:.0f}–{one['highest_per_s']:.0f}"
    meanwhile = "–" if one["deliveries_per_s"] is None else f"{one['deliveries_per_s']:.0f}"
    return [name, f"{one['accepted_per_s']:.0f}", spread, f"{one['p50_ms']:.1f}", f"{one['p99_ms']:.1f}", meanwhile]


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in (head, *rows)]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:], ""])
