"""What the planner reads and what it makes: plain, frozen data.

First the abstract workflow and how to plan it, then the executable one (nodes, what they do, the DAG);
the catalogs are in catalogs.py. Mappings in here are never changed once made. Nothing holds a secret.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Literal, NamedTuple

from msgspec import Struct

from pegasus_toolkit.planner.catalogs import LOCAL, Batch, Checksum, Hook, Path, Pfn, Profiles, Site

Configuration = Literal["condorio", "nonsharedfs", "sharedfs"]
CONFIGURATIONS: tuple[Configuration, ...] = ("condorio", "nonsharedfs", "sharedfs")

# --- problems ---------------------------------------------------------------------------------------


class Problem(NamedTuple):
    """One thing that is wrong. ``line`` counts from 1; 0 where it is not known. ``hint``: what to do."""

    file: str
    path: Path
    message: str
    line: int = 0
    hint: str = ""

    @property
    def key(self) -> str:
        """``jobs[3].uses[0].lfn``"""
        return "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in self.path).lstrip(".")

    def __str__(self) -> str:
        """One line: file, line, key, what is wrong, what to do."""
        where = f"{self.file}:{self.line}" if self.line else self.file
        text = ": ".join(part for part in (where, self.key, self.message) if part)
        text += f"; {self.hint}" if self.hint else ""
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class PlanError(Exception):
    """The workflow cannot be planned. ``problems``: all that is wrong, in the order of the files."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(dict.fromkeys(problems))
        super().__init__("\n".join(map(str, self.problems)))


# --- the abstract workflow --------------------------------------------------------------------------


Link = Literal["input", "output", "checkpoint"]


class Use(Struct, frozen=True, gc=False, kw_only=True):
    """One file of one job. ``at``: its place in the job's ``uses``. ``size``: bytes, where told.

    ``planning``: of a sub-workflow, read when it is planned.
    """

    lfn: str
    link: Link
    at: int = 0
    stage_out: bool = True
    register: bool = True
    bypass: bool = False
    optional: bool = False
    planning: bool = False
    metadata: Mapping[str, str] = {}
    size: int | None = None

    @property
    def place(self) -> Path:
        """The way from the job to its name; none, if the job does not declare it."""
        return ("uses", self.at, "lfn") if self.at >= 0 else ()


JobKind = Literal["job", "pegasusWorkflow", "condorWorkflow"]


class Job(Struct, frozen=True, kw_only=True, dict=True):
    """One job of the abstract workflow, or a sub-workflow (``kind``) whose file is the LFN ``file``.

    ``at``: its place in the file's ``jobs``. ``arguments``: one word each, as the program gets them.
    ``stdin``, ``stdout``, ``stderr``: LFNs, "" for none; they are among ``uses``, too.
    ``checkpoints``: files that a later attempt goes on from; not among ``uses``.
    """

    id: str
    at: int
    kind: JobKind = "job"
    transformation: str = ""  # namespace::name:version, the empty parts left out
    name: str = ""
    label: str = ""
    file: str = ""
    arguments: tuple[str, ...] = ()
    stdin: str = ""
    stdout: str = ""
    stderr: str = ""
    uses: tuple[Use, ...] = ()
    checkpoints: tuple[Use, ...] = ()
    profiles: Profiles = {}
    metadata: Mapping[str, str] = {}
    hooks: tuple[Hook, ...] = ()

    @cached_property
    def inputs(self) -> tuple[Use, ...]:
        """The files that it reads."""
        return tuple([use for use in self.uses if use.link == "input"])

    @cached_property
    def outputs(self) -> tuple[Use, ...]:
        """The files that it makes."""
        return tuple([use for use in self.uses if use.link == "output"])


class Workflow(Struct, frozen=True, kw_only=True):
    """An abstract workflow. ``parents``: of each job's id, those that the file names explicitly.

    Dependencies that follow from files are added when it is planned.
    """

    name: str
    file: str
    jobs: tuple[Job, ...]
    parents: Mapping[str, tuple[str, ...]] = {}
    profiles: Profiles = {}
    metadata: Mapping[str, str] = {}
    hooks: tuple[Hook, ...] = ()


# --- settings ---------------------------------------------------------------------------------------

Exists = Callable[[Pfn], bool | None]
"""Whether a replica is there; ``None`` where that cannot be told."""


Parsed = Callable[[tuple[str, ...]], tuple[Mapping[str, object], str]]
"""Options of ``pegasus-plan`` by their long names, where given; and what is wrong with them, "" nothing."""


class Above(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a workflow tells the planning of a workflow below it.

    ``base``: where relative names begin; ``files``: LFNs that are for planning, with their paths.
    ``catalogs``: properties that name catalogs, below all others; ``workflows``: files with catalogs of
    their own in them, the nearest first. ``wanted``: the outputs that the workflow above goes on with, from
    ``directory``; with True they also go where outputs go. ``log``: the file that is to hold what is said.
    """

    base: str
    files: Mapping[str, str] = {}
    catalogs: Mapping[str, str] = {}
    workflows: tuple[str, ...] = ()
    directory: str = ""
    wanted: Mapping[str, bool] = {}
    log: str = ""


ROOT = "pegasus.workflow.root.uuid"  # the property that tells a sub-workflow what it is a part of


class Settings(Struct, frozen=True, kw_only=True):
    """How to plan: the command line and the properties, decided.

    ``configuration``: of jobs whose profiles (site, program, job) name no other.
    ``scratch``: the part of the scratch path that this run has for itself; it ends with ``run``, which no
    other run has. ``relative``: the submit directory below the one that holds those of all runs.
    ``prefix``: before the names of jobs. ``output_directory``: a local path, in place of the output site's
    storage.
    ``common``: HTCondor knows catalogs of files that jobs share.
    ``submit``: the absolute path of the submit directory. ``worker``: the program ``pegasus-worker``
    of the submit host; ``workers``: that of each site ("" for all others: a file that goes with the jobs).
    ``environ``: of the submit host, for jobs that run there. ``exists``: asked of replicas, where they are
    to be checked at all.
    ``here``: whether a path is there on the submit host. ``secret``: what is wrong with a
    credential file (missing, too open), or "".
    ``base``: the directory that it is planned in; ``above``: said by the workflow that it is a part of.
    ``options``: understands arguments of sub-workflows.
    ``section``: whether the credentials file has something to show to an HTTP server, or to a registry.
    ``makes_sif``: Apptainer or Singularity is on the submit host, for images that are staged in there.
    """

    configuration: Configuration
    submit: str
    run: str
    scratch: str
    relative: str = ""
    prefix: str = ""
    sites: tuple[str, ...] = ()
    output_sites: tuple[str, ...] = (LOCAL,)
    staging: Mapping[str, str] = {}  # of each execution site; "" for all others
    output_directory: str = ""
    clusterers: tuple[str, ...] = ()
    cleanup: Literal["none", "inplace", "leaf"] = "inplace"
    reuse: Literal["none", "partial", "full"] = "full"
    integrity: bool = True
    register: bool = True
    bypass: bool = False
    common: bool = False
    properties: Mapping[str, str] = {}
    profiles: Profiles = {}  # that stand in the properties
    environ: Mapping[str, str] = {}
    exists: Exists | None = None
    here: Callable[[str], bool] = lambda path: False
    secret: Callable[[str], str] = lambda path: ""
    section: Callable[[Pfn], bool] = lambda pfn: False
    makes_sif: bool = False
    worker: str = "pegasus-worker"
    workers: Mapping[str, str] = {}
    planner: str = "pegasus-plan"
    base: str = ""
    above: Above = Above(base="")
    options: Parsed = lambda words: ({}, "")

    @property
    def root(self) -> str:
        """The id of the run that this one is a part of; its own, if of none."""
        return self.properties.get(ROOT, self.run)


# --- the executable workflow ------------------------------------------------------------------------

NodeKind = Literal[
    "create_dir",
    "stage_in",
    "compute",
    "inter_site",
    "stage_out",
    "register",
    "cleanup",
    "transfer",
    "subworkflow",
]


class Move(Struct, frozen=True, kw_only=True):
    """A transfer. The expected digest is ``checksum``, or in the ``.meta`` file of a node before."""

    lfn: str
    sources: tuple[Pfn, ...]
    destinations: tuple[Pfn, ...]
    checksum: Checksum | None = None
    size: int | None = None
    linkage: str = "input"


class MakeDirectory(NamedTuple):
    """A mkdir, parents included."""

    target: Pfn


class Remove(NamedTuple):
    """Remove a file, or all of a directory."""

    target: Pfn
    recursive: bool = False


Operation = Move | MakeDirectory | Remove


class Input(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file that must be there before a job starts.

    ``sources``: where to get it, the best first; none: it is there already (sharedfs).
    ``produced``: a job of this run makes it, so no catalog knows its digest. ``delivered``: the name under
    which HTCondor puts it down where the job starts (condorio); then there are no sources.
    """

    lfn: str
    sources: tuple[Pfn, ...] = ()
    checksum: Checksum | None = None
    size: int | None = None
    produced: bool = False
    executable: bool = False
    delivered: str = ""


class Output(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file that a job leaves. ``destinations``: where to put it; none: it stays (sharedfs).

    ``optional``: it need not be there, as a checkpoint that its program has removed.
    """

    lfn: str
    destinations: tuple[Pfn, ...] = ()
    optional: bool = False


class ContainerUse(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """In which container a task runs. ``file``: LFN of the image among the inputs; "": pull ``image``."""

    name: str
    type: str
    image: str
    file: str = ""
    mounts: tuple[str, ...] = ()
    environment: Mapping[str, str] = {}
    arguments: tuple[str, ...] = ()


class Task(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One job of the abstract workflow, made concrete.

    ``program``: an absolute path, or, where ``staged``, the LFN of an input. ``walltime``: seconds.
    ``checkpoint``: seconds after which it is told (SIGTERM) to leave a checkpoint and end.
    ``setup``: the LFN of an input that a shell reads before it starts the program, "" for none.
    ``failure``, ``success``: text in the program's output or error that tells that it failed; whose
    absence tells it.
    """

    id: str
    transformation: str
    program: str
    staged: bool
    arguments: tuple[str, ...] = ()
    stdin: str = ""
    stdout: str = ""
    stderr: str = ""
    environment: Mapping[str, str] = {}
    container: ContainerUse | None = None
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    walltime: int | None = None
    checkpoint: int | None = None
    setup: str = ""
    failure: str = ""
    success: str = ""


class Registration(Struct, frozen=True, gc=False, omit_defaults=True):
    """An LFN to be written into the replica catalog, at the place it was staged out to."""

    lfn: str
    pfn: Pfn
    metadata: Mapping[str, str] = {}


class Credential(NamedTuple):
    """A file that a node needs, and the variable that tells its jobs where it is."""

    variable: str
    path: str


class SubDag(NamedTuple):
    """A sub-workflow: its DAG file, the directory it runs in ("": any), the command that plans it first.

    ``above``: what that command is told by this workflow.
    """

    dag: str
    directory: str
    plan: tuple[str, ...] = ()
    above: Above | None = None


class Node(Struct, frozen=True, kw_only=True):
    """One node of the DAG. ``name`` is unique and made of letters, digits, ``_`` and ``-``.

    ``site``: where it runs. ``level``: the longest way to it from a beginning, over compute jobs.
    ``directory``: where to run (sharedfs), "" for a fresh one.
    ``configuration``: of compute nodes. ``metas``: nodes whose ``.meta`` file tells
    digests that this node needs. ``profiles``: merged from all catalogs.
    ``checkpoints``: LFNs; kept when a compute node fails, not missed by others where they are not there.
    """

    name: str
    kind: NodeKind
    site: str
    level: int = 0
    jobs: tuple[str, ...] = ()
    tasks: tuple[Task, ...] = ()
    inputs: tuple[Input, ...] = ()
    outputs: tuple[Output, ...] = ()
    checkpoints: tuple[str, ...] = ()
    directory: str = ""
    configuration: Configuration | None = None
    operations: tuple[Operation, ...] = ()
    registrations: tuple[Registration, ...] = ()
    metas: tuple[str, ...] = ()
    credentials: tuple[Credential, ...] = ()
    subdag: SubDag | None = None
    hooks: tuple[Hook, ...] = ()
    profiles: Profiles = {}


class NodeFile(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What ``pegasus-worker`` is told of a node: one line of JSON in a bundle. docs/planner/worker.md.

    ``specification``: the file of its operations, beside the bundle. ``metas``: nodes whose ``NAME.meta``
    file is where the worker starts. ``outbox``: the directory there that outputs with a destination are
    left in, for HTCondor to carry them; "": the worker brings them. ``checkpoints``: as of the node; a
    compute node's are kept in ``NAME.checkpoint`` where the worker starts. ``catalog``: the replica catalog
    that ``registrations`` go into.
    """

    version: int
    node: str
    kind: str
    workflow: str
    run: str
    site: str
    configuration: Configuration
    verify: bool
    directory: str = ""
    inputs: tuple[Input, ...] = ()
    outputs: tuple[Output, ...] = ()
    checkpoints: tuple[str, ...] = ()
    outbox: str = ""
    tasks: tuple[Task, ...] = ()
    specification: str = ""
    metas: tuple[str, ...] = ()
    catalog: str = ""
    registrations: tuple[Registration, ...] = ()


class Metadata(Struct, frozen=True, kw_only=True):
    """What users have said: of the workflow, of jobs by id, of files by LFN."""

    workflow: Mapping[str, str] = {}
    tasks: Mapping[str, Mapping[str, str]] = {}
    files: Mapping[str, Mapping[str, str]] = {}


class Dag(Struct, frozen=True, kw_only=True):
    """The executable workflow: what the writers need, and no more.

    ``batches``: of sites that are batch systems.
    ``parents``: of each node's name, sorted; every node has an entry. ``outputs``: LFN to where it is
    staged out.
    ``reused``: ids of jobs that need not run. ``warnings``: one line each, for people.
    """

    workflow: Workflow
    settings: Settings
    sites: Mapping[str, Site]
    nodes: tuple[Node, ...]
    parents: Mapping[str, tuple[str, ...]]
    batches: Mapping[str, Batch] = {}
    outputs: Mapping[str, tuple[Pfn, ...]] = {}
    reused: tuple[str, ...] = ()
    metadata: Metadata = Metadata()
    warnings: tuple[str, ...] = ()
