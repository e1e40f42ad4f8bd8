"""Site selection: where each job runs, with which program, and which site its files pass through.

A job follows most of its parents, so that files stay where they are; beginnings are dealt out in turn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from msgspec.structs import replace

from pegasus_toolkit.planner.catalogs import CONDORPOOL, LOCAL, Profiles, Site, TransformationSite
from pegasus_toolkit.planner.model import CONFIGURATIONS, Configuration, Job, Problem
from pegasus_toolkit.planner.passes import batch
from pegasus_toolkit.planner.passes.mappers import chosen as chosen_mapper
from pegasus_toolkit.planner.passes.places import Places
from pegasus_toolkit.planner.passes.plan import ExternalFile, Plan, SiteChoice
from pegasus_toolkit.planner.passes.programs import Programs

_UNSUPPORTED_GRIDS = ("gt2", "gt4", "gt5", "cream", "nordugrid", "unicore", "ec2", "deltacloud", "sfapi")


def select_sites(plan: Plan) -> Plan:
    """Chooses for every job; the programs and images that must be staged become raw files."""
    problems = list(_unknown(plan))
    if problems:  # then none can be chosen, but what nobody knows is told now
        first = {job.transformation: job for job in reversed(plan.jobs) if job.kind == "job"}
        nowhere = sorted(first.keys() - plan.catalogs.transformations.keys())
        return plan.wrong((*problems, *(_unheard(plan, first[key]) for key in nowhere)))
    selected = ("pegasus.selector.transformation", "pegasus.catalog.transformation.mapper")
    programs = Programs(
        plan.catalogs, next(filter(None, map(plan.property, selected)), ""), plan.settings.makes_sif
    )
    places = Places(plan.catalogs, plan.settings)
    choice = _Choice(plan, programs, places)
    chosen: dict[str, SiteChoice] = {}
    raw: dict[str, ExternalFile] = {}
    told: dict[str, None] = {}
    for job in plan.jobs:
        found = choice.of(job, chosen)
        if isinstance(found, Problem):
            if found.message not in told:
                problems.append(found)
            told[found.message] = None
            continue
        chosen[job.id], files = choice.made(job, *found)
        raw.update(files)
    problems += _scratchless(plan, places, chosen)
    problems += _gone(plan, raw)
    used = dict.fromkeys(one.site for one in chosen.values())
    plan = plan.warn(text for name in used for text in batch.warnings(plan.catalogs.sites[name]))
    return replace(plan, chosen=chosen, raw={**plan.raw, **raw}).wrong(problems)


class _Choice:
    """Which sites can run a transformation is worked out once for each."""

    def __init__(self, plan: Plan, programs: Programs, places: Places) -> None:
        self._plan = plan
        self._programs = programs
        self._places = places
        named = plan.settings.sites
        self._sites: tuple[tuple[str, ...], ...] = (named,) if named else _all_sites(plan)
        self._eligible: dict[str, dict[str, TransformationSite]] = {}
        self._turn: Counter[str] = Counter()
        self._merged: dict[tuple[str, str, str], dict[str, dict[str, str]]] = {}
        self._made: dict[int, tuple[SiteChoice, dict[str, ExternalFile]]] = {}

    def of(
        self, job: Job, chosen: Mapping[str, SiteChoice]
    ) -> tuple[str, TransformationSite | None] | Problem:
        if job.kind != "job":
            return LOCAL, None
        key = job.transformation
        if key not in self._eligible:
            program = self._plan.catalogs.transformations.get(key)
            found = (self._programs.eligible(program, some) for some in self._sites) if program else ()
            self._eligible[key] = next((one for one in found if one), {})
        eligible = self._eligible[key]
        selector = job.profiles.get("selector") or self._plan.workflow.profiles.get("selector") or {}
        wanted = selector.get("execution.site") or selector.get("execution_site") or ""
        if wanted and wanted not in self._plan.catalogs.sites:
            return self._plan.problem(job, f"unknown site {wanted!r}", "profiles", "selector")
        if wanted and wanted not in eligible:
            own = self._plan.catalogs.transformations.get(key)
            eligible = self._programs.eligible(own, (wanted,)) if own else {}
        if path := selector.get("pfn"):
            eligible = self._named(path, (wanted,) if wanted else (*eligible,) or self._sites[0], eligible)
        if not eligible:
            return self._none(job)
        site = wanted or self._nearest(job, eligible, chosen)
        return site, eligible[site]

    def _named(
        self, path: str, sites: Iterable[str], known: Mapping[str, TransformationSite]
    ) -> dict[str, TransformationSite]:
        """The program that the job itself names, whatever the catalog says of it."""
        url = path if "://" in path else f"file://{path}"
        others = {site: known.get(site, TransformationSite(name=site, pfn=url)) for site in sites}
        return {site: replace(one, pfn=url, stageable=False) for site, one in others.items()}

    def _nearest(
        self, job: Job, eligible: Mapping[str, TransformationSite], chosen: Mapping[str, SiteChoice]
    ) -> str:
        if len(eligible) == 1:
            return next(iter(eligible))
        parents = Counter(chosen[p].site for p in self._plan.parents[job.id] if p in chosen)
        near = [site for site, _ in parents.most_common() if site in eligible]
        if near:
            return near[0]
        turn = self._turn[job.transformation]
        self._turn[job.transformation] += 1
        return list(eligible)[turn % len(eligible)]

    def _none(self, job: Job) -> Problem:
        """Why no site can run it."""
        key, plan = job.transformation, self._plan
        program = plan.catalogs.transformations.get(key)
        if program is None:
            return _unheard(plan, job)
        sites = ", ".join(dict.fromkeys(site for some in self._sites for site in some))
        hint = "it must be installed at one of them, or stageable, for its arch and os.type"
        return Problem(program.file, program.at, f"{key!r} can run at none of: {sites}", hint=hint)

    def made(
        self, job: Job, site: str, program: TransformationSite | None
    ) -> tuple[SiteChoice, dict[str, ExternalFile]]:
        """What is chosen, and the files that have to be staged for it; the same for the same profiles."""
        profiles = self.profiles(job, site, program)
        if id(profiles) not in self._made:
            configuration = _configuration(self._plan, profiles)
            setup = self._programs.setup(profiles) if program else None
            files = self._programs.staged(job.transformation, program) if program else ()
            staged = {file.lfn: file for file in (*files, setup) if file is not None}
            choice = SiteChoice(
                site=site,
                staging=LOCAL if job.kind != "job" else self._places.staging(site, configuration),
                configuration=configuration,
                program=program,
                staged=tuple(staged),
                image=self._programs.image(program) if program else "",
                setup=setup.lfn if setup else "",
                profiles=profiles,
            )
            self._made[id(profiles)] = choice, staged
        return self._made[id(profiles)]

    def profiles(self, job: Job, site: str, program: TransformationSite | None) -> Profiles:
        """From the weakest: properties, workflow, job, site, transformation, its entry for the site."""
        key = (job.transformation, site, job.id if job.profiles else "")  # those without are alike
        if key in self._merged:
            return self._merged[key]
        plan, merged = self._plan, self._merged.setdefault(key, {})
        own = plan.catalogs.transformations.get(job.transformation)
        for profiles in (
            plan.settings.profiles,
            plan.workflow.profiles,
            job.profiles,
            plan.catalogs.sites[site].profiles,
            own.profiles if own else {},
            program.profiles if program else {},
        ):
            for space, table in profiles.items():
                merged.setdefault(space, {}).update(table)
        return merged


def _all_sites(plan: Plan) -> tuple[tuple[str, ...], ...]:
    """All sites of the catalog but the submit host, as upstream; then the pool; then that host."""
    sites = [site for name, site in plan.catalogs.sites.items() if name != LOCAL and site.file]
    shared = [site for site in sites if _configuration(plan, site.profiles) == "sharedfs"]
    lacking = {site.name for site in shared if not site.directory("sharedScratch")}
    return tuple(site.name for site in sites if site.name not in lacking), (CONDORPOOL,), (LOCAL,)


def _configuration(plan: Plan, profiles: Profiles) -> Configuration:
    """What the profiles name, else that of the whole workflow. Other names are told by ``supported``."""
    named = profiles.get("pegasus", {}).get("data.configuration", "").lower()
    return next((one for one in CONFIGURATIONS if one == named), plan.settings.configuration)


def _unknown(plan: Plan) -> Iterator[Problem]:
    settings, known = plan.settings, plan.catalogs.sites
    named = [("--sites", name) for name in settings.sites]
    named += [("--output-sites", name) for name in settings.output_sites]
    named += [("--staging-site", name) for pair in settings.staging.items() for name in pair if name]
    for option, name in dict.fromkeys(named):
        if name not in known:
            yield Problem(option, (), f"unknown site {name!r}", hint=f"known are {', '.join(known)}")
    for name in settings.sites:
        yield from _grids(known[name]) if name in known else ()


def _grids(site: Site) -> Iterator[Problem]:
    style = site.profiles.get("pegasus", {}).get("style", "condor")
    if style not in ("condor", "condorc", "glidein", *batch.STYLES):
        yield Problem(
            site.file, (*site.at, "profiles", "pegasus", "style"), f"style {style!r} is not supported"
        )
    yield from batch.wrong(site)
    for n, grid in enumerate(site.grids):
        if grid.type in _UNSUPPORTED_GRIDS:
            where = (*site.at, "grids", n, "type")
            yield Problem(site.file, where, f"grids of the type {grid.type!r} are not supported")


def _gone(plan: Plan, raw: Mapping[str, ExternalFile]) -> Iterator[Problem]:
    """Programs and images that are to be staged and are not there."""
    exists = plan.settings.exists
    if exists is None:
        return
    for file in raw.values():
        if all(exists(pfn) is False for pfn in file.pfns):
            places = ", ".join(pfn.url for pfn in file.pfns)
            yield Problem("transformations", (), f"the program or image {file.lfn!r} is not there: {places}")


def _scratchless(plan: Plan, places: Places, chosen: Mapping[str, SiteChoice]) -> Iterator[Problem]:
    for name in dict.fromkeys(one.staging for one in chosen.values()):
        site = plan.catalogs.sites[name]
        if not places.scratch(name, "all", "get") or not places.scratch(name, "all", "put"):
            message = f"{name!r} needs a sharedScratch directory with a file server to get and put files"
            yield Problem(site.file or "sites", (*site.at, "directories"), message)
    for name in plan.settings.output_sites if chosen_mapper(plan) not in ("Fixed", "Replica") else ():
        if not places.storage(name, "x").url:
            site = plan.catalogs.sites[name]
            message = f"{name!r} needs a localStorage directory with a file server for outputs"
            yield Problem(site.file or "sites", (*site.at, "directories"), message)


def _unheard(plan: Plan, job: Job) -> Problem:
    from pegasus_toolkit.planner.reading.reader import nearest

    known = plan.catalogs.transformations
    hint = nearest(job.transformation, known) if known else "there is no transformation catalog"
    return plan.problem(job, f"the transformation {job.transformation!r} is in no catalog", "name", hint=hint)
