"""The names of properties and profiles: what is known, what is left alone, and what was probably meant."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from pegasus_toolkit.planner.catalogs import Path, Profiles
from pegasus_toolkit.planner.model import Problem
from pegasus_toolkit.planner.passes.credentials import VARIABLES
from pegasus_toolkit.planner.reading.reader import nearest

# Names end with * where anything may follow, and hold one where any word may stand.
_PROPERTIES = """
catalog.site catalog.site.file catalog.site.repo catalog.site.repo.file catalog.site.repo.interval
catalog.site.sites.* catalog.replica catalog.replica.file catalog.replica.cache.asrc catalog.replica.db.*
catalog.replica.directory catalog.replica.directory.site catalog.replica.directory.flat.lfn
catalog.replica.directory.url.prefix catalog.replica.output catalog.replica.output.file catalog.transformation
catalog.transformation.file clusterer.label.key clusterer.preference code.generator condor.common.files
data.configuration data.reuse.scope dir.staging.mapper dir.storage.deep dir.storage.mapper
dir.storage.mapper.fixed.url dir.storage.mapper.replica dir.storage.mapper.replica.file dir.submit.mapper
file.cleanup.strategy integrity.checking mode register register.deep selector.replica
selector.replica.*.stagein.sites
selector.replica.regex.rank.* selector.transformation transfer.bypass.input.staging transfer.links
workflow.root.uuid
"""
_LEFT_PROPERTIES = """
aws.* catalog.*.timeout catalog.master.* catalog.replica.chunk.size catalog.replica.dax.asrc
catalog.replica.output.* catalog.transformation.mapper catalog.workflow.* clusterer.allow.single
condor.* credential.encrypt dashboard.* dir.create.strategy dir.submit.logs
dir.useTimestamp file.cleanup.* home* log.* metrics.* monitord.* parser.* schema.*
transfer.*.impl transfer.arguments transfer.container.onhost transfer.disable.chmod.sites transfer.force
transfer.lite.arguments transfer.setup.source.base.url transfer.staging.delimiter transfer.threads
transfer.worker.package*
"""
# What serves in their place, which is always told: somebody wants something of them.
_INSTEAD = {
    "dir.exec": "each run has a directory of its own below the site's scratch directory",
    "*job.aggregator*": "jobs of a cluster run one after the other, in one worker",
    "selector.site*": "a job goes where most of its parents ran, else to each site in turn",
    "transfer.*.remote.sites": "transfers run on the submit host, where that reaches both ends",
}
_PROFILES = {
    "pegasus": """
auxillary.local checkpoint.time clusters.maxruntime clusters.num clusters.size container.arguments cores
data.configuration diskspace enable_for_data_reuse exitcode.failuremsg exitcode.successmsg glite.arguments
gpus label maxwalltime memory nodes pegasus_lite_env_source ppn project queue runtime stagein.clusters
stageout.clusters style transfer.bypass.input.staging worker
""",
    "dagman": """
*.maxjobs abort-dag-on category maxidle maxjobs maxpost maxpre noop post post.arguments post.path.*
post.scope pre pre.arguments priority retry
""",
    "selector": "execution.site execution_site pfn",
}
_LEFT_PROFILES = {
    "pegasus": """
*.expr change.dir condor.arguments.quote container.launcher* create.dir gridstart* group nosymlink pmc_*
relative.dir relative.submit.dir stagein.local.clusters stagein.remote.clusters stageout.local.clusters
stageout.remote.clusters transfer.arguments transfer.force transfer.lite.arguments transfer.links
transfer.proxy transfer.threads
""",
    "dagman": "post.path",
    "selector": "grid.jobtype",
}


def warnings(
    properties: Iterable[str], profiles: Iterable[tuple[str, Path, Profiles]], label: str
) -> Iterator[str]:
    """One for each name that means nothing, where it stands first; ``label``: what clusters are made by."""
    places: dict[tuple[str, str], tuple[str, Path]] = {}
    for file, path, found in profiles:
        for space in _PROFILES.keys() & found.keys():
            for key in found[space]:
                places.setdefault((space, key), (file, (*path, space, key)))
    for (space, key), place in places.items():
        if key not in VARIABLES and key != label:
            yield from _told(f"profile {space}.{key}", key, _PROFILES[space], _LEFT_PROFILES[space], place)
    names = (one.removeprefix("pegasus.") for one in properties if one.startswith("pegasus."))
    for name in names:
        if ("pegasus", name) not in places:
            place = ("properties", (f"pegasus.{name}",))
            yield from _told(f"property pegasus.{name}", name, _PROPERTIES, _LEFT_PROPERTIES, place)


def _told(what: str, name: str, known: str, left: str, place: tuple[str, Path]) -> Iterator[str]:
    if name in known.split():
        return
    if _matches(name, left):
        yield f"the {what} is left alone"
    elif told := [text for one, text in _INSTEAD.items() if _matches(name, one)]:
        yield f"the {what} has no effect: {told[0]}"
    elif not _matches(name, known):
        hint = nearest(name, [one for one in known.split() if "*" not in one])
        yield str(Problem(*place, f"unknown {what}", hint=hint if hint.startswith("did") else ""))


def _matches(name: str, names: str) -> bool:
    return any(
        name == one or ("*" in one and re.fullmatch(re.escape(one).replace(r"\*", ".*"), name))
        for one in names.split()
    )
