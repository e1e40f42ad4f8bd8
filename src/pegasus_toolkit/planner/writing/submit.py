"""Submit files: one for all nodes that are submitted alike; what differs between them is in DAGMan's VARS."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from pegasus_toolkit.credentials import proxies
from pegasus_toolkit.planner.catalogs import LOCAL, Batch, Profiles
from pegasus_toolkit.planner.model import Dag, Node
from pegasus_toolkit.planner.passes import batch
from pegasus_toolkit.planner.passes.places import path_of
from pegasus_toolkit.planner.writing import jobs, quoting
from pegasus_toolkit.planner.writing.common import NONE, Shared, shared

_LONGEST = 4096  # of a node's VARS; a node with more gets a submit file of its own
# Held by anything but the user's own hand, or while its input is spooled: a failure, to be tried again.
_HELD = "(JobStatus == 5 && HoldReasonCode =!= 1 && HoldReasonCode =!= 16)"
_INHERITED = ("HOME", "PATH", "USER", "LOGNAME", "LANG", "TMPDIR", "SSH_AUTH_SOCK")
_REQUESTS = {
    "cores": "request_cpus",
    "memory": "request_memory",
    "diskspace": "request_disk",
    "gpus": "request_gpus",
}
# Pegasus' names for what auxiliary jobs do; all others transfer.
_PROGRAMS = {"create_dir": "dirmanager", "cleanup": "cleanup", "register": "rc-client"}
_OURS = ("priority",)  # condor profiles that the DAG takes
# Universes of jobs on the submit host, and of those that HTCondor starts in containers: the worker does that.
_NOT_THERE = ("local", "scheduler", "container", "docker")


class Submission(NamedTuple):
    """How a node is submitted: by which file, with which variables."""

    file: str
    variables: Mapping[str, str]


_Member = tuple[str, Mapping[str, str], dict[str, str]]  # a node, its commands and variables


class Submits(NamedTuple):
    """``files``: content by name; ``of``: for each node that HTCondor submits as a job."""

    files: Mapping[str, str]
    of: Mapping[str, Submission]


def submits(dag: Dag, name: str, bundle_of: Mapping[str, str]) -> Submits:
    """Submit files for all nodes.

    ``name``: of the DAG; ``bundle_of``: the bundle that holds a node's line.
    """
    # What condor_q and Pegasus' own tools can ask of every job.
    attributes = {
        "MY.pegasus_wf_uuid": quoting.string(dag.settings.run),
        "MY.pegasus_root_wf_uuid": quoting.string(dag.settings.root),
        "MY.pegasus_wf_name": quoting.string(name),
        "MY.pegasus_wf_dag_job_id": '"$(nodename)"',
    }
    catalogs = shared(dag)
    alike: dict[tuple[object, ...], Mapping[str, str]] = {}
    groups: dict[tuple[object, ...], list[_Member]] = {}
    for node in dag.nodes:
        if node.subdag is None:
            once = catalogs.get(node.name, NONE)
            like = _like(node, once)
            commands = alike.get(like) or alike.setdefault(like, _described(dag, node, once, attributes))
            key = ("compute" if node.kind == "compute" else "auxiliary", node.site, tuple(commands))
            variables = _variables(dag, node, bundle_of[node.name], once)
            groups.setdefault(key, []).append((node.name, commands, variables))
    files: dict[str, str] = {}
    of: dict[str, Submission] = {}
    # Who learns looks into the submit file of a job, and finds it by its name.
    longest = 0 if dag.settings.properties.get("pegasus.mode") == "tutorial" else _LONGEST
    for (kind, site, _), members in groups.items():
        stem = re.sub(r"[^A-Za-z0-9_-]", "_", f"{kind}-{site}")
        _shared(stem, members, longest, files, of)
    final = Node(name=jobs.FINAL, kind="register", site=LOCAL)
    files["final.sub"] = _text(_described(dag, final, NONE, attributes))
    of[jobs.FINAL] = Submission("final.sub", _variables(dag, final, bundle_of[jobs.FINAL], NONE))
    return Submits(files, of)


def _shared(
    stem: str,
    members: list[_Member],
    longest: int,
    files: dict[str, str],
    of: dict[str, Submission],
) -> None:
    first = members[0][1]
    distinct = {id(commands): commands for _, commands, _ in members}.values()
    differ = [key for key in first if len({commands[key] for commands in distinct}) > 1]
    macros = {key: "v_" + re.sub(r"\W", "_", key) for key in differ}
    name = f"{stem}.sub"
    for n in range(1, len(files) + 1):
        name = name if name not in files else f"{stem}-{n}.sub"
    shared = _text({key: f"$({macros[key]})" if key in macros else first[key] for key in first})
    for node, commands, variables in members:
        own = {**variables, **{macros[key]: commands[key] for key in differ}}
        if sum(map(len, own.values())) <= longest:
            of[node], files[name] = Submission(name, own), shared
        else:
            bundle = {"bundle": own.pop("bundle")}  # by its name a run's database knows the kind of node
            of[node], files[f"{node}.sub"] = Submission(f"{node}.sub", bundle), _text(own) + shared


def _text(commands: Mapping[str, str]) -> str:
    lines = [f"{key} = {value}" for key, value in commands.items()]
    if commands.get("universe") == "vanilla":  # a machine that lacks something is not tried at once again
        lines.append("include ifexist : $(records)/$(nodename).elsewhere")
    if "universe" in commands:
        lines.append("queue")
    return "\n".join(lines) + "\n"


def _like(node: Node, once: Shared) -> tuple[object, ...]:
    """All of a node that its commands depend on."""
    program = node.tasks[0].transformation if node.tasks else ""
    files = (node.credentials, _kept(node), _scratch(node) if node.configuration == "condorio" else "")
    return (node.kind, node.site, node.configuration, id(node.profiles), id(once), program, *files)


def _variables(dag: Dag, node: Node, bundle: str, once: Shared) -> dict[str, str]:
    """What tells a node from those like it."""
    # Not "node", which HTCondor has for parallel jobs.
    variables = {"nodename": node.name, "bundle": bundle}
    if node.site != LOCAL and not jobs.in_place(dag, node.site):
        variables["files"] = ",".join(_files(dag, node, once))
    if not node.tasks:
        variables["program"] = _PROGRAMS.get(node.kind, "transfer")
    return variables


def _files(dag: Dag, node: Node, once: Shared) -> Iterator[str]:
    """What goes with the job."""
    yield "$(bundles)/$(bundle)"
    if node.operations:
        yield f"$(bundles)/{jobs.specification_file(node.name)}"
    if kept := _kept(node):
        yield f"$(records)/{node.name}.{kept}"
    for name in node.metas:
        yield f"$(records)/{name}.meta"
    for one in node.inputs if jobs.carried(dag, node) else ():
        if (path := jobs.delivered(dag, node, one)) and path not in once.paths:
            yield quoting.macro(path)
    yield from _secrets(node)


def _secrets(node: Node) -> dict[str, None]:
    return dict.fromkeys(quoting.macro(one.path) for one in node.credentials)


def _described(dag: Dag, node: Node, once: Shared, attributes: Mapping[str, str]) -> Mapping[str, str]:
    """Commands for a node; ``attributes``: of every job."""
    submit = dag.settings.submit
    commands = {
        "records": f"{submit}/records",
        "bundles": f"{submit}/jobs",
        "universe": "local",
        "executable": quoting.macro(dag.settings.worker),
        "output": f"{submit}/logs/$(nodename).out",
        "error": f"{submit}/logs/$(nodename).err",
        "log": f"{submit}/workflow.log",
        "notification": "never",
        "initialdir": f"{submit}/records",
    }
    if node.site == LOCAL:
        commands["arguments"] = quoting.arguments(
            ("--bundle", "$(bundles)/$(bundle)", "--node", "$(nodename)")
        )
        commands["environment"] = quoting.environment(_environment(dag, node, "local"))
    elif jobs.in_place(dag, node.site):
        _in_place(dag, node, commands)
    else:
        _remote(dag, node, once, commands)
    if node.kind in ("compute", "transfer"):
        commands |= dict(_wishes(node.profiles, dag.batches.get(node.site)))
    commands |= attributes
    commands["MY.pegasus_site"] = quoting.string(node.site)
    if node.tasks:  # of several, the first
        commands["MY.pegasus_wf_xformation"] = quoting.string(node.tasks[0].transformation)
    else:
        commands["MY.pegasus_wf_xformation"] = '"pegasus::$(program)"'
    own = commands.pop("periodic_remove", "")
    commands["periodic_remove"] = f"{_HELD} || ({own})" if own else _HELD
    return commands


def _in_place(dag: Dag, node: Node, commands: dict[str, str]) -> None:
    """A job of the submit host's own batch system, which sees the files of the submit host and carries none.

    All its jobs may start in one directory: nothing is left there, and nothing is looked for.
    """
    commands |= _universe(dag, node)
    words = ("--bundle", "$(bundles)/$(bundle)", "--node", "$(nodename)", "--records", "$(records)")
    commands["arguments"] = quoting.arguments(words)
    commands["environment"] = quoting.environment(_environment(dag, node, "shared"))
    commands["executable"] = _worker(dag, node)
    commands["transfer_executable"] = "false"


def _worker(dag: Dag, node: Node) -> str:
    workers = dag.settings.workers
    return quoting.macro(workers.get(node.site) or workers.get("") or dag.settings.worker)


def _remote(dag: Dag, node: Node, once: Shared, commands: dict[str, str]) -> None:
    """A job elsewhere: what it needs goes with it, its record comes back, and under condorio its files."""
    kept = _kept(node)
    own = [f"$(nodename).{suffix}" for suffix in ("json", "meta", kept) if suffix]
    back = ",".join(own)
    if jobs.carried(dag, node):
        commands["initialdir"] = quoting.macro(_scratch(node))
        # That directory is there even if the job fails: HTCondor misses nothing, and holds no job.
        back = f"{jobs.OUTBOX}/,{back}"
        remaps = ";".join(f"{name}=$(records)/{name}" for name in own)
        commands["transfer_output_remaps"] = f'"{remaps}"'
    commands |= once.commands
    commands |= _universe(dag, node)
    worker, words = _worker(dag, node), ["--bundle", "$(bundle)", "--node", "$(nodename)"]
    there = node.site in dag.settings.workers
    if (
        dag.settings.workers.get("", "-") in once.paths
    ):  # HTCondor would change its mode, if it were the executable
        worker, words, there = "/usr/bin/env", ["python3", f"./{worker.rpartition('/')[2]}", *words], True
    commands["arguments"] = quoting.arguments(words)
    commands["environment"] = quoting.environment(_environment(dag, node, "elsewhere"))
    commands["executable"] = worker
    commands["transfer_executable"] = "false" if there else "true"
    commands["should_transfer_files"] = "YES"
    # What is evicted goes on elsewhere with what it has kept, not with what it began with.
    commands["when_to_transfer_output"] = "ON_EXIT_OR_EVICT" if kept else "ON_EXIT"
    commands["transfer_input_files"] = "$(files)"
    commands["transfer_output_files"] = back
    if node.credentials:
        commands["encrypt_input_files"] = ",".join(_secrets(node))


def _kept(node: Node) -> str:
    """The suffix of the file beside its record that takes what one attempt has done to the next."""
    if node.kind == "transfer":
        return "journal"
    return "checkpoint" if node.kind == "compute" and node.checkpoints else ""


def _scratch(node: Node) -> str:
    """The directory that outputs are put into, by HTCondor; "" would be where it is submitted."""
    for one in node.outputs:
        for pfn in one.destinations:
            return path_of(pfn.url)[: -len(one.lfn) - 1]
    return "/tmp"  # no output goes anywhere


def _universe(dag: Dag, node: Node) -> dict[str, str]:
    """How jobs get to the site."""
    if found := dag.batches.get(node.site):
        return {"universe": "grid", "grid_resource": found.resource}
    universe = jobs.universe(dag, node)
    return {"universe": "vanilla" if universe in _NOT_THERE else universe}


def _environment(dag: Dag, node: Node, where: Literal["local", "shared", "elsewhere"]) -> dict[str, str]:
    """On the submit host what a login has; else only credentials, elsewhere by the names they arrive with."""
    own = node.profiles.get("env", {}) if node.kind == "transfer" else {}
    if where == "elsewhere":
        return {**own, **{one.variable: one.path.rpartition("/")[2] for one in node.credentials}}
    secrets = {one.variable: one.path for one in node.credentials}
    if where == "shared":
        return {**own, **secrets}
    environ = dag.settings.environ
    inherited = {name: environ[name] for name in _INHERITED if name in environ}
    return {**inherited, **proxies.without_passwords(environ), **own, **secrets}


def _wishes(profiles: Profiles, system: Batch | None) -> Iterator[tuple[str, str]]:
    """Resources, and whatever the user says to HTCondor."""
    pegasus = profiles.get("pegasus", {})
    for key, command in _REQUESTS.items():
        if value := pegasus.get(key):
            # Pegasus counts disk in MB, HTCondor without a unit in KB.
            yield command, f"{value} MB" if key == "diskspace" and value.isdecimal() else value
    if system is not None:
        yield from batch.requests(profiles)
    for key, value in profiles.get("condor", {}).items():
        if key not in ("universe", *_OURS) and not (key == "grid_resource" and system is not None):
            yield key, value
