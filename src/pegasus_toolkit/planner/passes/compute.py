"""From jobs of the abstract workflow to the tasks of a compute node."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from pegasus_toolkit.planner.catalogs import Hook, Profiles
from pegasus_toolkit.planner.model import ContainerUse, Input, Job, Node, Output, Problem, Task
from pegasus_toolkit.planner.passes import batch
from pegasus_toolkit.planner.passes.credentials import VARIABLES
from pegasus_toolkit.planner.passes.places import Places, path_of
from pegasus_toolkit.planner.passes.plan import Plan, SiteChoice, number
from pegasus_toolkit.planner.passes.subworkflows import sub_dag


def _environment(profile: Mapping[str, str]) -> Mapping[str, str]:
    """Without the paths of credentials, which are for transfers and not for programs."""
    if VARIABLES.isdisjoint(profile):
        return profile
    return {name: value for name, value in profile.items() if name not in VARIABLES}


class Builder:
    """Makes compute nodes; ``problems`` grows."""

    def __init__(self, plan: Plan) -> None:
        self.problems: list[Problem] = []
        self._plan = plan
        self._places = Places(plan.catalogs, plan.settings)
        self._batches = {name for name, site in plan.catalogs.sites.items() if batch.batch_of(site)}
        self._consumers: dict[str, set[str]] = {}
        for job in plan.jobs:
            for use in job.inputs:
                self._consumers.setdefault(use.lfn, set()).add(job.id)

    def node(self, name: str, group: Sequence[Job], level: int, profiles: Profiles) -> Node:
        """The node that runs these jobs one after the other, parents first."""
        chosen = self._plan.chosen[group[0].id]
        ids = {job.id for job in group}
        made = {use.lfn for job in group for use in job.outputs}
        shared = chosen.configuration == "sharedfs" and group[0].kind == "job"
        sub = sub_dag(self._plan, self._places, group[0], name) if group[0].kind != "job" else (None, [])
        self.problems += sub[1]
        return Node(
            name=name,
            kind="compute" if group[0].kind == "job" else "subworkflow",
            site=chosen.site,
            level=level,
            jobs=tuple(job.id for job in group),
            tasks=tuple(self._task(job) for job in group if job.kind == "job"),
            inputs=self._inputs(group, made),
            outputs=self._outputs(group, ids, chosen, shared),
            checkpoints=tuple(use.lfn for job in group for use in job.checkpoints),
            directory=self._places.directory(chosen.site) if shared else "",
            configuration=chosen.configuration if group[0].kind == "job" else None,
            profiles=profiles,
            subdag=sub[0],
            hooks=self._hooks(group),
        )

    def _hooks(self, group: Sequence[Job]) -> tuple[Hook, ...]:
        """Of the jobs and their programs; each once."""
        known = self._plan.catalogs.transformations
        found = [hook for job in group for hook in job.hooks]
        for job in group:
            if job.transformation in known:
                found += known[job.transformation].hooks
        return tuple(dict.fromkeys(found)) or ()

    def _task(self, job: Job) -> Task:
        chosen = self._plan.chosen[job.id]
        program = chosen.program
        assert program is not None  # every job of this kind was given one
        staged = program.stageable
        pegasus = chosen.profiles.get("pegasus", {})
        path = chosen.staged[0] if staged else path_of(program.pfn)
        if not path:
            self.problems.append(
                self._plan.problem(job, f"an installed program needs a path, not {program.pfn!r}", "name")
            )
        lfns = {use.lfn for use in job.uses} if chosen.staged else set()
        if chosen.configuration == "condorio":
            lfns |= {lfn.rpartition("/")[2] for lfn in lfns}
        for lfn in chosen.staged:
            if lfn in lfns:
                message = f"{lfn!r} is also the name that the program or image is staged under"
                self.problems.append(self._plan.problem(job, message, "uses"))
        return Task(
            id=job.id,
            transformation=job.transformation,
            program=path,
            staged=staged,
            arguments=job.arguments,
            stdin=job.stdin,
            stdout=job.stdout,
            stderr=job.stderr,
            environment=_environment(chosen.profiles.get("env", {})),
            container=self._container(chosen),
            inputs=tuple(dict.fromkeys((*(use.lfn for use in job.inputs), *chosen.staged))) or (),
            outputs=tuple(use.lfn for use in job.outputs) or (),
            walltime=self._walltime(chosen),
            checkpoint=self._checkpoint(job),
            setup=chosen.setup,
            failure=pegasus.get("exitcode.failuremsg", ""),
            success=pegasus.get("exitcode.successmsg", ""),
        )

    def _checkpoint(self, job: Job) -> int | None:
        """Seconds until the program is told to leave its checkpoint."""
        profiles = self._plan.chosen[job.id].profiles
        minutes, most = number(profiles, "checkpoint.time"), number(profiles, "maxwalltime")
        if minutes and most and minutes >= most:
            message = f"checkpoint.time ({minutes} min) leaves nothing of maxwalltime ({most} min)"
            self.problems.append(self._plan.problem(job, message, "profiles", "pegasus", "checkpoint.time"))
        return minutes * 60 or None

    def _walltime(self, chosen: SiteChoice) -> int | None:
        """Seconds after which the worker ends the program, and says so: before a batch system does."""
        if chosen.site not in self._batches:
            return number(chosen.profiles, "maxwalltime") * 60 or None
        return batch.limit(chosen.profiles) or None

    def _container(self, chosen: SiteChoice) -> ContainerUse | None:
        name = chosen.program.container if chosen.program else ""
        container = self._plan.catalogs.containers.get(name)
        if container is None:
            return None
        arguments = chosen.profiles.get("pegasus", {}).get("container.arguments", "")
        return ContainerUse(
            name=name,
            type=container.type,
            image=container.image,
            file=chosen.image,
            mounts=container.mounts,
            environment=container.profiles.get("env", {}),
            arguments=tuple(shlex.split(arguments)) or (),
        )

    def _inputs(self, group: Sequence[Job], made: set[str]) -> tuple[Input, ...]:
        """What must come from outside; where from is for the passes that bring it."""
        plan = self._plan
        found: dict[str, Input] = {}
        for job in group:
            begun = [use.lfn for use in job.checkpoints if use.lfn in plan.raw]
            for lfn in (*plan.chosen[job.id].staged, *(use.lfn for use in job.inputs), *begun):
                if lfn in made or lfn in found:
                    continue
                raw = plan.raw.get(lfn)
                if raw is None:
                    found[lfn] = Input(lfn=lfn, produced=True)
                else:
                    found[lfn] = Input(
                        lfn=lfn, checksum=raw.checksum, size=raw.size, executable=raw.executable
                    )
        return tuple(found.values())

    def _outputs(
        self, group: Sequence[Job], ids: set[str], chosen: SiteChoice, shared: bool
    ) -> tuple[Output, ...]:
        """Outputs go to the staging site where anybody needs them there."""
        found = []
        above = self._plan.settings.above.wanted
        for job in group:
            for use in job.outputs:
                needed = use.stage_out or use.lfn in above or self._consumers.get(use.lfn, set()) - ids
                away = needed and not shared
                to = (self._places.put(chosen.staging, use.lfn),) if away else ()
                found.append(Output(lfn=use.lfn, destinations=to))
            for use in job.checkpoints:
                to = (self._places.put(chosen.staging, use.lfn),) if use.stage_out and not shared else ()
                found.append(Output(lfn=use.lfn, destinations=to, optional=True))
        return tuple(found)
