"""Which process runs a DAG: a number alone does not tell, as it is given again."""

# pathlib would cost start-up time
# ruff: noqa: PTH123

from __future__ import annotations


def started(pid: int) -> str:
    """When a process began, in words of this boot's alone; "" if there is none (any more).

    One that has ended, and whose parent has not asked for it yet, is none.
    """
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            fields = stream.read().rpartition(")")[2].split()
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
            boot = stream.read().strip()
    except OSError:
        return ""
    return "" if fields[0] in ("Z", "X") else f"{fields[19]} {boot}"
