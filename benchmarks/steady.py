"""Not speed but conduct: one missing source among many, and whether every run ends cleanly."""

from __future__ import annotations

import shutil
from collections import Counter
from statistics import median
from typing import Any

from benchmarks import measure, sets
from benchmarks.rounds import Field, filled
from benchmarks.tools import Place, specification

SHAPE = sets.Shape(1000, 4 << 10, 10)
SMALL = sets.Shape(20, 4 << 10)


def missing(ground: Field, rounds: int) -> dict[str, Any]:
    """Times (medians, s) of 1,000 local files, with all of them there and with one missing.

    Raises ``Wrong`` unless the other 999 arrive and the exit code is 2.
    """
    files = fresh(ground, SHAPE)
    gone = files[500]
    whole, lacking = [], []
    for _ in range(rounds):
        whole.append(once(ground, files, files, 0).seconds)
        hidden = ground.root / "hidden"
        (ground.source / gone.path).rename(hidden)
        expected = [file for file in files if file != gone]
        lacking.append(once(ground, files, expected, 2).seconds)
        hidden.rename(ground.source / gone.path)
    return {"all": median(whole), "one missing": median(lacking), "rounds": rounds}


def exits(ground: Field, times: int) -> dict[str, Any]:
    """How many of so many small runs of each kind ended with code 0."""
    files = fresh(ground, SMALL)
    kept = filled(ground, files)
    result: dict[str, Any] = {}
    for case in ("local", "http", "s3 up", "s3 down"):
        codes: Counter[int] = Counter()
        for _ in range(times):
            bucket = kept if case.startswith("s3") else ""
            usage, place = run(ground, case, files, bucket)
            codes[usage.code] += 1
            shutil.rmtree(place.target, ignore_errors=True)
        result[case] = {"runs": times, "clean": codes[0], "codes": dict(codes)}
    ground.s3.drop(kept)
    return result


def fresh(ground: Field, shape: sets.Shape) -> list[sets.File]:
    """Other files at the source."""
    shutil.rmtree(ground.source)
    ground.source.mkdir()
    return sets.make(ground.source, shape)


def once(ground: Field, files: list[sets.File], expected: list[sets.File], code: int) -> measure.Usage:
    """One local run of ours with those files at its end and that exit code, or ``Wrong``."""
    usage, place = run(ground, "local", files, "")
    try:
        if usage.code != code:
            raise sets.Wrong(f"exit {usage.code}, {code} expected\n{usage.output}")
        sets.check(place.target, expected)
    finally:
        shutil.rmtree(place.target, ignore_errors=True)
    return usage


def run(ground: Field, case: str, files: list[sets.File], bucket: str) -> tuple[measure.Usage, Place]:
    """One run of ours, whatever its exit code."""
    place = ground.place(files, bucket)
    spec = specification(case, place, True, files)
    argv = [f"{place.programs.ours}/pegasus-transfer", "-f", str(spec)]
    return measure.run([argv], place.env), place
