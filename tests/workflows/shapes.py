"""Runnable workflows, written by Pegasus' own Python API, with the digests that must come out of them."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from Pegasus.api import (
    OS,
    Arch,
    Directory,
    File,
    FileServer,
    Job,
    Operation,
    Properties,
    ReplicaCatalog,
    Site,
    SiteCatalog,
    SubWorkflow,
    Transformation,
    TransformationCatalog,
    Workflow,
)

KEG = Path(__file__).with_name("keg.py")


def sha256(data: bytes) -> str:
    """Hexadecimal."""
    return hashlib.sha256(data).hexdigest()


@dataclass
class World:
    """A directory with catalogs, data, a program, and one workflow. ``expected``: LFN to sha256."""

    root: Path
    configuration: str
    pool: str = "condorpool"
    contents: dict[str, bytes] = field(default_factory=dict)
    expected: dict[str, str] = field(default_factory=dict)
    count: int = 0

    def __post_init__(self) -> None:
        for name in ("data", "bin", "scratch/local", "scratch/pool", "outputs"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        self.keg = self.root / "bin" / "keg"
        shutil.copy(KEG, self.keg)
        self.keg.chmod(0o755)
        self.replicas = ReplicaCatalog()
        self.program = Transformation(
            "keg", site="local", pfn=str(self.keg), is_stageable=True, arch=Arch.X86_64, os_type=OS.LINUX
        )
        self.workflow = Workflow("shape")

    @property
    def outputs(self) -> Path:
        """Where everything must stand in the end."""
        return self.root / "outputs"

    def raw(self, name: str, size: int = 2048, checksum: bool = False) -> File:
        """An input file, in the replica catalog."""
        data = (hashlib.sha256(name.encode()).digest() * (size // 32 + 1))[:size]
        path = self.root / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self.contents[name] = data
        more = {"checksum": {"sha256": sha256(data)}} if checksum else {}
        self.replicas.add_replica("local", File(name), str(path), **more)
        return File(name)

    def job(
        self,
        name: str,
        inputs: list[File],
        outputs: list[str],
        *,
        kib: int = 1,
        stage: bool = True,
        stdout: bool = False,
        more: tuple[str, ...] = (),
    ) -> list[File]:
        """One job; its outputs are simulated, and are expected where they are to be staged out."""
        self.count += 1
        id = f"{name}{self.count:05d}"
        made = [File(one) for one in outputs]
        words = ["-n", id, "-k", kib, "-i", *inputs, *more, *(["--stdout"] if stdout else []), "-o", *made]
        job = Job(self.program, _id=id, node_label=name).add_args(*words).add_inputs(*inputs)
        kept = made[:-1] if stdout else made
        if kept:
            job.add_outputs(*kept, stage_out=stage, register_replica=stage)
        if stdout:
            job.set_stdout(made[-1], stage_out=stage, register_replica=stage)
        self.workflow.add_jobs(job)
        self._simulate(id, [one.lfn for one in inputs], outputs, kib)
        if stage:
            self.expected |= {one: sha256(self.contents[one]) for one in outputs}
        return made

    def _simulate(self, id: str, inputs: list[str], outputs: list[str], kib: int) -> None:
        seed = hashlib.sha256(id.encode())
        for one in inputs:
            seed.update(hashlib.sha256(self.contents[one]).digest())
        for one in outputs:
            line = sha256(seed.digest() + one.encode()) + "\n"
            self.contents[one] = (line * max(1, kib * 1024 // 65)).encode()

    def write(self, **properties: str) -> World:
        """All the files."""
        self.replicas.write(str(self.root / "replicas.yml"))
        TransformationCatalog().add_transformations(self.program).write(
            str(self.root / "transformations.yml")
        )
        self._sites().write(str(self.root / "sites.yml"))
        known = Properties()
        known["pegasus.data.configuration"] = self.configuration
        for kind in ("replica", "site", "transformation"):
            file = {"replica": "replicas", "site": "sites", "transformation": "transformations"}[kind]
            known[f"pegasus.catalog.{kind}.file"] = str(self.root / f"{file}.yml")
        for key, value in properties.items():
            known[key.replace("_", ".")] = value
        known.write(str(self.root / "pegasus.properties"))
        self.workflow.write(str(self.root / "workflow.yml"))
        return self

    def _sites(self) -> SiteCatalog:
        scratch = self.root / "scratch"
        local = _site("local", scratch / "local", self.outputs)
        pool = _site(self.pool, scratch / "pool").add_condor_profile(universe="vanilla")
        pool.add_pegasus_profile(style="condor", auxillary_local=True)
        return SiteCatalog().add_sites(local, pool)


def _site(name: str, scratch: Path, storage: Path | None = None) -> Site:
    site = Site(name, arch=Arch.X86_64, os_type=OS.LINUX)
    for kind, path in ((Directory.SHARED_SCRATCH, scratch), (Directory.LOCAL_STORAGE, storage)):
        if path is not None:
            server = FileServer(f"file://{path}", Operation.ALL)
            site.add_directories(Directory(kind, str(path)).add_file_servers(server))
    return site


def diamond(world: World, n: int) -> None:
    """Four jobs."""
    b1, b2 = world.job("preprocess", [world.raw("f.a")], ["f.b1", "f.b2"], stage=False)
    (c1,) = world.job("findrange", [b1], ["f.c1"], stage=False)
    (c2,) = world.job("findrange", [b2], ["f.c2"], stage=False)
    world.job("analyze", [c1, c2], ["f.d"])


def pipeline(world: World, n: int) -> None:
    """One after the other."""
    file = world.raw("in.txt", checksum=True)
    for i in range(n):
        (file,) = world.job("step", [file], [f"stage{i}.txt"], stage=i == n - 1)


def split(world: World, n: int) -> None:
    """One makes the inputs of all others."""
    parts = world.job(
        "split", [world.raw("big.html", 1 << 16)], [f"p/part.{i}" for i in range(n)], stage=False
    )
    for i, part in enumerate(parts):
        world.job("wc", [part], [f"count.{i}"])


def merge(world: World, n: int) -> None:
    """One reads what all others made."""
    middle = [world.job("ls", [world.raw(f"d{i}.in")], [f"bin_{i}.txt"], stage=False)[0] for i in range(n)]
    world.job("cat", middle, ["binaries.txt"])


def fanout(world: World, n: int) -> None:
    """Jobs that know nothing of each other, one file in, one out."""
    for i in range(n):
        world.job("one", [world.raw(f"in/{i}.dat", 100 * i)], [f"out/{i}.dat"])


def flaky(world: World, n: int) -> None:
    """A job fails once, then works: RETRY must mend it."""
    (made,) = world.job("steady", [world.raw("f.a")], ["f.b"], stage=False)
    world.job("flaky", [made], ["f.c"], more=("--fail-once", str(world.root / "failed.flag")))


def awkward(world: World, n: int) -> None:
    """Names that a careless program trips over, deep directories, and an output that is printed."""
    names = ["a b.txt", "qu'o\"te.txt", "dollar$HOME.txt", "100%.txt", "ünï.txt", "deep/er/and/deeper.txt"]
    made = [world.job("odd", [world.raw(f"in {name}")], [name], stage=False)[0] for name in names]
    world.job("print", made, ["extra $HOME.out", "printed #1.out"], stdout=True)


def spoilt(world: World, n: int) -> None:
    """What one job made is spoilt on its way to the next, which must not begin."""
    (made,) = world.job("make", [world.raw("f.a")], ["spoilt.out"], stage=False)
    more = ("--spoil", str(world.root / "scratch"), "spoilt.out")
    (other,) = world.job("spoil", [world.raw("f.b"), made], ["other.out"], stage=False, more=more)
    world.job("use", [made, other], ["used.out"])


def damaged(world: World, n: int) -> None:
    """What one job made is spoilt once, by another, on its way to the next; a third is not concerned."""
    (first,) = world.job("first", [world.raw("f.a")], ["first.out"], stage=False)
    (made,) = world.job("make", [first], ["damaged.out"], stage=False)
    world.job("aside", [first], ["aside.out"])
    more = ("--spoil-once", str(world.root / "scratch"), "damaged.out")
    (other,) = world.job("spoil", [world.raw("f.b")], ["other.out"], stage=False, more=more)
    jobs = world.workflow.jobs
    world.workflow.add_dependency(jobs["make00002"], children=[jobs["spoil00004"]])
    (used,) = world.job("use", [made, other], ["used.out"])
    world.job("last", [used], ["last.out"])


def stuck(world: World, n: int) -> None:
    """The last but one job of a pipeline fails as long as there is a file ``stuck`` beside the catalogs."""
    flag = world.root / "stuck"
    flag.touch()
    file = world.raw("in.txt")
    for i in range(n):
        more = ("--fail-while", str(flag)) if i == n - 2 else ()
        (file,) = world.job("step", [file], [f"stage{i}.txt"], stage=i == n - 1, more=more)


def shared(world: World, n: int) -> None:
    """Some of the outputs of a job are kept, others are for its children, some for nobody."""
    one, two, _ = world.job("make", [world.raw("f.a")], ["kept", "passed", "dropped"], stage=False)
    world.job("left", [one, two, world.raw("f.b")], ["left.out"])
    world.job("right", [two], ["right.out"], kib=200)


def nested(world: World, n: int) -> None:
    """A workflow in a workflow, planned while the outer one runs."""
    inner, outer = Workflow("inner"), world.workflow
    world.workflow = inner
    (made,) = world.job("inner", [world.raw("f.in")], ["inner.out"])
    inner.write(str(world.root / "inner.yml"))
    world.workflow = outer
    world.replicas.add_replica("local", File("inner.yml"), str(world.root / "inner.yml"))
    below = SubWorkflow("inner.yml", _id="below").add_planner_args(output_sites=["local"])
    outer.add_jobs(below.add_inputs(File("f.in")).add_outputs(made))
    world.job("outer", [made], ["outer.out"])


def within(world: World, n: int) -> None:
    """A file is damaged in a workflow that is part of another."""
    inner, outer = Workflow("inner"), world.workflow
    world.workflow = inner
    damaged(world, n)
    inner.write(str(world.root / "inner.yml"))
    world.workflow = outer
    world.replicas.add_replica("local", File("inner.yml"), str(world.root / "inner.yml"))
    below = SubWorkflow("inner.yml", _id="below").add_planner_args(output_sites=["local"])
    outer.add_jobs(below.add_inputs(File("f.a"), File("f.b")).add_outputs(File("last.out")))
    world.job("outer", [File("last.out")], ["outer.out"])
    world.expected = {name: world.expected[name] for name in ("last.out", "outer.out")}


SHAPES: dict[str, Callable[[World, int], None]] = {
    one.__name__: one for one in (diamond, pipeline, split, merge, fanout, flaky, awkward, shared, nested)
}


UNSOUND: dict[str, Callable[[World, int], None]] = {
    "spoilt": spoilt,
    "damaged": damaged,
    "within": within,
    "stuck": stuck,
}


def make(shape: str, root: Path, configuration: str, n: int = 8, **properties: str) -> World:
    """Writes a workflow with its catalogs below ``root``. ``properties``: ``_`` stands for ``.``"""
    world = World(root, configuration)
    world.workflow = Workflow(shape)
    {**SHAPES, **UNSOUND}[shape](world, n)
    return world.write(**properties)


def found(outputs: Path) -> Iterator[tuple[str, str]]:
    """Each file below ``outputs``, and its sha256."""
    for path in sorted(outputs.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(outputs)), sha256(path.read_bytes())
