"""Data reuse: a job whose files are there already need not run, nor those that only worked for it."""

from __future__ import annotations

from msgspec.structs import replace

from pegasus_toolkit.planner.catalogs import Pfn, Replica
from pegasus_toolkit.planner.model import Job
from pegasus_toolkit.planner.passes.plan import ExternalFile, Plan


def reuse(plan: Plan) -> Plan:
    """Without jobs whose outputs are all catalogued, and exist as far as ``settings.exists`` can tell."""
    scope = plan.settings.reuse
    if scope == "none":
        return plan
    there: dict[str, ExternalFile] = {}
    gone: set[str] = set()
    stale: list[str] = []
    for job in plan.jobs:
        outputs = job.outputs
        if not outputs or job.kind != "job" or not _allowed(job, scope):
            continue
        found = [_existing(plan, use.lfn, stale) for use in outputs]
        if all(found):
            gone.add(job.id)
            there.update((raw.lfn, raw) for raw in found if raw is not None)
    gone |= _unneeded(plan, gone, scope)
    if not gone and not stale:
        return plan
    kept = tuple(job for job in plan.jobs if job.id not in gone)
    parents = {job.id: tuple(p for p in plan.parents[job.id] if p not in gone) for job in kept}
    reused = tuple(job.id for job in plan.jobs if job.id in gone)
    return replace(plan, jobs=kept, parents=parents, reused=reused, there=there).warn(stale)


def _allowed(job: Job, scope: str) -> bool:
    if scope == "full":
        return True
    return job.profiles.get("pegasus", {}).get("enable_for_data_reuse", "").lower() == "true"


def _existing(plan: Plan, lfn: str, stale: list[str]) -> ExternalFile | None:
    """The replicas of a file that are there; ``None`` where it has to be made."""
    replica: Replica | None = plan.catalogs.replicas.entries.get(lfn)
    if replica is None:
        return None
    exists = plan.settings.exists
    pfns: tuple[Pfn, ...] = replica.pfns
    if exists is not None:
        pfns = tuple(pfn for pfn in pfns if exists(pfn))
        if not pfns:
            stale.append(f"{lfn!r} is catalogued, but not seen to be there: it is made again")
            return None
    return ExternalFile(lfn=lfn, pfns=pfns, checksum=replica.checksum, size=replica.size)


def _unneeded(plan: Plan, gone: set[str], scope: str) -> set[str]:
    """Jobs that only worked for jobs that are gone: nothing they make stays or is used."""
    children: dict[str, list[str]] = {}
    for job in plan.jobs:
        for parent in plan.parents[job.id]:
            children.setdefault(parent, []).append(job.id)
    more: set[str] = set()
    for job in reversed(plan.jobs):
        if job.id in gone or job.kind != "job" or not _allowed(job, scope):
            continue
        below = children.get(job.id, ())
        needed = any(use.stage_out or use.lfn in plan.settings.above.wanted for use in job.outputs)
        if below and not needed and all(child in gone or child in more for child in below):
            more.add(job.id)
    return more
