"""Files against what the meta data expects of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

from pegasus_toolkit.integrity import digests, kickstart, regular
from pegasus_toolkit.integrity.meta import Expected, Metadata, MetaError


class Verdict(NamedTuple):
    """What became of one file: ``problem`` is "" where it is what it should be.

    The digest decides. ``warning``: its size is not the one that was told, so that one is wrong.
    ``found``: lower-case hex, "" where none could be taken; ``seconds``: time that the digest took.
    """

    lfn: str
    pfn: str
    expected: Expected | None
    found: str
    seconds: float
    problem: str
    warning: str = ""


class Ambiguous(ValueError):
    """An entry ``lfn=pfn`` that can be read in several ways."""


Test = Callable[[str, str], bool]


def split_pair(entry: str, *tests: Test) -> tuple[str, str]:
    """LFN and PFN of ``lfn=pfn`` or ``pfn``, where each may hold ``=``.

    Every ``=`` is tried, and the one split that passes the first test is taken; where none does, the
    whole as a file whose LFN is its name, if that passes. Then the same with the next test, and so on.
    In the end the split at the first ``=``, as upstream has it, so that the error speaks of what was
    meant. An empty LFN is the PFN. Raises :class:`Ambiguous` where several pass.
    """
    places = [at for at, c in enumerate(entry) if c == "="]
    splits = [(entry[:at] or entry[at + 1 :], entry[at + 1 :]) for at in places]
    for fits in tests:
        fitting = [split for split in splits if fits(*split)]
        if len(fitting) > 1:
            ways = " or ".join(f"{lfn!r} at {pfn!r}" for lfn, pfn in fitting)
            raise Ambiguous(f"{entry!r} can be read as {ways}; an absolute path tells them apart")
        if fitting:
            return fitting[0]
        if fits(entry, entry):
            return entry, entry
    return splits[0] if splits else (entry, entry)


def is_file(path: str) -> bool:
    """Whether a regular file is there that could be read."""
    try:
        descriptor, _ = regular.open_read(path)
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return False
    os.close(descriptor)
    return True


def check(lfn: str, pfn: str, metadata: Metadata) -> Verdict:
    """Takes the digest of a file and compares it with what is expected."""
    try:
        expected = metadata.find(lfn)
    except MetaError as error:
        return Verdict(lfn, pfn, None, "", 0.0, str(error))
    try:
        found = digests.of_file(pfn, expected.algorithm)
    except digests.UnsupportedAlgorithm as error:
        return Verdict(lfn, pfn, expected, "", 0.0, f"{pfn}: {error}")
    except (OSError, ValueError) as error:
        return Verdict(lfn, pfn, expected, "", 0.0, f"{pfn}: {reason(error)}")
    problem, warning = _difference(pfn, expected, found), ""
    if not problem and expected.size not in (None, found.size):
        warning = f"{pfn}: has the expected checksum, and {found.size} bytes where {expected.size} are told"
    return Verdict(lfn, pfn, expected, found.digest, found.seconds, problem, warning)


def reason(error: Exception) -> str:
    """An error's text without the file's name."""
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def _difference(pfn: str, expected: Expected, found: digests.FileDigest) -> str:
    if found.digest != expected.digest:
        return (
            f"{pfn}: Expected checksum ({expected.digest}) does not match "
            f"the calculated checksum ({found.digest}) (timing: {found.seconds:.3f})"
        )
    return ""


def statistics(verdicts: list[Verdict]) -> str:
    """The YAML that Pegasus' monitoring takes up: every attempt, and a summary."""
    lines = ["- integrity_verification_attempts:"]
    for verdict in verdicts:
        good = not verdict.problem
        algorithm = verdict.expected.algorithm if verdict.expected is not None else "sha256"
        lines += [
            f"  - lfn: {kickstart.quoted(verdict.lfn)}",
            f"    pfn: {kickstart.quoted(verdict.pfn)}",
            f"    {algorithm}: {verdict.found or 'null'}",
            f"    success: {good}",
        ]
        if not good and verdict.expected is not None:
            lines.append(f"    {algorithm}_expected: {verdict.expected.digest}")
    failed = sum(bool(verdict.problem) for verdict in verdicts)
    lines += [
        "- integrity_summary:",
        f"    succeeded: {len(verdicts) - failed}",
        f"    failed: {failed}",
        f"    duration: {sum(verdict.seconds for verdict in verdicts):.3f}",
    ]
    return "\n".join(lines) + "\n"
