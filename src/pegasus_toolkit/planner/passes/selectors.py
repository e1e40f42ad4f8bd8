"""Replica selectors: which of the places of a file is tried first, and which is not to be used."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from msgspec.structs import replace

from pegasus_toolkit.planner.catalogs import LOCAL, Pfn
from pegasus_toolkit.planner.model import Problem
from pegasus_toolkit.planner.passes.plan import Plan

SELECTORS = ("Default", "Local", "Regex", "Restricted")
_START = "pegasus.selector.replica"
_RANK = re.compile(r"pegasus\.selector\.replica\.regex\.rank\.(\d+)")

Selector = Callable[[Iterable[Pfn], str], tuple[Pfn, ...]]
"""The places to use for a site, with priorities, the best first."""


def selector(plan: Plan) -> Selector:
    """The one that the properties choose."""
    kind = plan.property(_START) or "Default"
    if kind == "Local":
        return lambda pfns, site: _sorted(pfns, lambda pfn: 100 if _local(pfn) else _usual(pfn, site))
    if kind == "Regex":
        ranks = [re.compile(text) for _, text in sorted(_ranks(plan)) if not _broken(text)]
        return lambda pfns, site: _sorted(pfns, lambda pfn: _ranked(ranks, pfn))
    if kind == "Restricted":
        return lambda pfns, site: _restricted(plan, pfns, site)
    return lambda pfns, site: _sorted(pfns, lambda pfn: _usual(pfn, site))


def wrong(plan: Plan) -> Iterator[Problem]:
    """Properties that cannot be followed."""
    for rank, text in _ranks(plan):
        if message := _broken(text):
            yield Problem(
                "properties", (f"{_START}.regex.rank.{rank}",), f"not a regular expression: {message}"
            )


def _usual(pfn: Pfn, site: str) -> int:
    """Upstream's order: files at the site before other replicas there, before all others."""
    if pfn.site == site:
        return 100 if pfn.url.startswith("file://") else 50
    return 10


def _local(pfn: Pfn) -> bool:
    return pfn.site == LOCAL and pfn.url.startswith("file://")


def _ranks(plan: Plan) -> Iterator[tuple[int, str]]:
    for key, value in plan.settings.properties.items():
        if match := _RANK.fullmatch(key):
            yield int(match[1]), value


def _broken(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        return str(error)
    return ""


def _ranked(ranks: Sequence[re.Pattern[str]], pfn: Pfn) -> int:
    matches = (len(ranks) - n for n, pattern in enumerate(ranks) if pattern.fullmatch(pfn.url))
    return next(matches, 0)


def _restricted(plan: Plan, pfns: Iterable[Pfn], site: str) -> tuple[Pfn, ...]:
    preferred = _sites(plan, site, "prefer")
    ignored = _sites(plan, site, "ignore") - preferred
    left = (pfn for pfn in pfns if pfn.site not in ignored)
    return _sorted(left, lambda pfn: (1000 if pfn.site in preferred else 0) + _usual(pfn, site))


def _sites(plan: Plan, site: str, what: str) -> set[str]:
    values = (plan.property(f"{_START}.{one}.{what}.stagein.sites") for one in (site, "*"))
    return {one.strip() for value in values for one in value.split(",") if one.strip()}


def _sorted(pfns: Iterable[Pfn], priority: Callable[[Pfn], int]) -> tuple[Pfn, ...]:
    ranked = (replace(pfn, priority=priority(pfn)) for pfn in pfns)
    return tuple(sorted(ranked, key=lambda pfn: -pfn.priority))
