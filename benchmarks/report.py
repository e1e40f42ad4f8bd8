"""Figures for people: which bars are reached, and tables of medians."""

from __future__ import annotations

from statistics import median
from typing import Any, NamedTuple

from benchmarks.tools import CASES, OURS, UPSTREAM

Record = dict[str, Any]
BEGIN, END = "<!-- results: written by make bench -->", "<!-- end of results -->"
S3_TOOLS = ("rclone", "s5cmd")

# case, set, the other tools (the quickest counts), our time at most so many times theirs
LIMITS = [
    ("local", "A", ("cp + openssl dgst",), 1.0),
    ("local", "B", ("rclone",), 0.8),
    ("local", "C", ("cp + openssl dgst",), 1.0),
    ("http", "A", ("curl",), 1.1),
    *((f"s3 {way}", name, S3_TOOLS, 1.2) for way in ("up", "down") for name in "ABC"),
]
PEAK_LIMIT = 200.0  # MiB
MISSING_LIMIT = 1.0  # seconds


class Bar(NamedTuple):
    """What was to be reached, what was, and whether that is enough."""

    what: str
    allowed: str
    measured: str
    reached: bool


class Cell(NamedTuple):
    """Medians of one tool with one set in one case."""

    seconds: float
    cpu: float
    peak: float  # the highest, MiB
    files: int
    bytes: int

    def rate(self, name: str) -> str:
        """Files a second for the many small ones, else MB (a million bytes) a second."""
        if name == "B":
            return f"{self.files / self.seconds:,.0f}"
        return f"{self.bytes / 1e6 / self.seconds:,.0f}"


Cells = dict[tuple[str, str, str], Cell]


def cells(records: list[Record]) -> Cells:
    """By case, set and tool; runs that went wrong are left out."""
    groups: dict[tuple[str, str, str], list[Record]] = {}
    for record in (r for r in records if "error" not in r):
        groups.setdefault((record["case"], record["set"], record["tool"]), []).append(record)
    return {
        key: Cell(
            median(r["seconds"] for r in group),
            median(r["cpu"] for r in group),
            max(r["peak"] for r in group),
            group[0]["files"],
            group[0]["bytes"],
        )
        for key, group in groups.items()
    }


def bars(results: Record) -> list[Bar]:
    """Each bar for which something was measured."""
    found = cells(results["records"])
    lines = []
    for case, name, others, limit in LIMITS:
        mine = found.get((case, name, OURS))
        theirs = [(found[key].seconds, tool) for tool in others if (key := (case, name, tool)) in found]
        if mine and theirs:
            seconds, best = min(theirs)
            ratio = mine.seconds / seconds
            text = f"{ratio:.2f} × ({mine.seconds:.2f} s, {best} {seconds:.2f} s)"
            lines.append(Bar(f"{case}, {name}", f"{limit} × {' or '.join(others)}", text, ratio <= limit))
    peaks = [(cell.peak, f"{key[0]}, {key[1]}") for key, cell in found.items() if key[2] == OURS]
    if peaks:
        peak, where = max(peaks)
        lines.append(Bar("peak memory", "200 MiB", f"{peak:.0f} MiB ({where})", peak < PEAK_LIMIT))
    return lines + conduct(results)


def conduct(results: Record) -> list[Bar]:
    """The bars that are not about speed."""
    wrong = [f"{r['tool']}, {r['case']}, {r['set']}" for r in results["records"] if "error" in r]
    ours = [text for text in wrong if text.startswith(OURS)]
    lines = [Bar("all files arrived whole", "every run", f"wrong: {'; '.join(wrong) or 'none'}", not ours)]
    if missing := results.get("missing"):
        more = missing["one missing"] - missing["all"]
        text = f"{more:+.2f} s ({missing['all']:.2f} s with all); 999 done, exit 2"
        lines.append(Bar("one source of 1,000 missing", "+1 s", text, more < MISSING_LIMIT))
    for case, found in (results.get("exits") or {}).items():
        text = f"{found['clean']} of {found['runs']}"
        lines.append(Bar(f"clean exit, {case}", "all", text, found["clean"] == found["runs"]))
    return lines


def markdown(results: Record) -> str:
    """All of it as it stands in README.md."""
    machine = results["machine"]
    text = [
        f"Measured on {results['date']}: {machine['processor']}, {machine['cores']} cores, "
        f"{machine['memory']}, Linux {machine['kernel']}, load {machine['load']} before the first run.\n",
        *(f"* {name}: {version}" for name, version in results["versions"].items()),
        "\n### Bars\n",
        "| | our time or figure at most | measured | reached |",
        "|---|---|---|---|",
    ]
    for bar in bars(results):
        reached = "yes" if bar.reached else "**no**"
        text.append(f"| {bar.what} | {bar.allowed} | {bar.measured} | {reached} |")
    found = cells(results["records"])
    for case in CASES:
        if any(key[0] == case for key in found):
            text += table(case, found)
    return "\n".join(text) + "\n"


def table(case: str, found: Cells) -> list[str]:
    """Rates of all tools, and how much longer each takes than ours."""
    names = sorted({key[1] for key in found if key[0] == case})
    units = {"A": "A, MB/s", "B": "B, files/s", "C": "C, MB/s"}
    head = ["", *(units[name] for name in names), "CPU s " + " / ".join(names), "peak MiB"]
    lines = [f"\n### {case}\n", "| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for tool in (tool.name for tool in CASES[case]):
        row = {name: found[case, name, tool] for name in names if (case, name, tool) in found}
        if not row:
            continue
        columns = [rated(row.get(name), found.get((case, name, OURS)), name, tool) for name in names]
        cpu = " / ".join(f"{row[name].cpu:.2f}" if name in row else "-" for name in names)
        lines.append(f"| {tool} | {' | '.join(columns)} | {cpu} | {max(c.peak for c in row.values()):.0f} |")
    return lines


def rated(cell: Cell | None, mine: Cell | None, name: str, tool: str) -> str:
    """A rate, with the time of it in times of ours."""
    if cell is None:
        return "-"
    if tool == OURS or mine is None:
        return cell.rate(name)
    each = (cell.seconds / cell.bytes) / (mine.seconds / mine.bytes)
    return f"{cell.rate(name)} (×{each:.2f})" + (" †" if tool == UPSTREAM and name == "B" else "")


def publish(page: str, results: Record) -> str:
    """The page with the results between its two marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{markdown(results)}{END}{after}"
