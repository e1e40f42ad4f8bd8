"""A submit directory run node by node, as HTCondor would, without HTCondor: for the worker's tests."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.planner_files import read_dag
from tests.workflows.shapes import World

WORKER = Path(sys.executable).with_name("pegasus-worker")
PLAN = Path(sys.executable).with_name("pegasus-plan")


def plan(world: World, *words: str, sites: str = "condorpool", **environ: str) -> Submitted:
    """The workflow planned by the command itself; ``environ``: beside this process's own."""
    done = subprocess.run(
        [PLAN, "-q", "--dir", "submit", "-s", sites, *words, "workflow.yml"],
        cwd=world.root,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Submitted(Path(done.stdout.strip()))


class Submitted:
    """A submit directory. ``environ``: what its jobs find in their environment."""

    def __init__(self, path: Path, **environ: str) -> None:
        self.path = path
        (self.file,) = path.glob("*.dag")
        self.dag = read_dag(self.file.read_text())
        self.environ = {"PATH": os.environ["PATH"], "USER": "joe", **environ}

    def order(self) -> Iterator[str]:
        """All nodes, parents first, the last one at the end."""
        left = dict.fromkeys(name for name in self.dag.jobs if name != "receipt")
        while left:
            ready = [name for name in left if not set(self.dag.parents.get(name, ())) & left.keys()]
            for name in ready:
                del left[name]
                yield name
        yield "receipt"

    def described(self, name: str) -> dict[str, str]:
        """The commands that HTCondor would take for the node."""
        found = {}
        for line in Path(self.dag.jobs[name]).read_text().splitlines():
            key, equals, value = line.partition(" = ")
            if equals:
                found[key] = value
        found |= self.dag.variables.get(name, {})
        found["DOLLAR"] = "$"
        for _ in range(4):
            expand = re.compile(r"\$\((\w+)\)")
            found = {key: expand.sub(lambda m, of=found: of[m[1]], value) for key, value in found.items()}
        return found

    def run(self, name: str) -> int:
        """One attempt at one node; its exit code."""
        told = self.described(name)
        if told["universe"] == "local":
            return self._started(told, Path(told["initialdir"]), name)
        sandbox = self.path / "sandboxes" / name
        shutil.rmtree(sandbox, ignore_errors=True)
        sandbox.mkdir(parents=True)
        for file in filter(None, told["transfer_input_files"].split(",")):
            shutil.copy(file, sandbox)
        code = self._started(told, sandbox, name)
        for file in told["transfer_output_files"].split(","):
            self._bring(sandbox, file, told)
        return code

    def _started(self, told: Mapping[str, str], directory: Path, name: str) -> int:
        words = told["arguments"].strip('"').split()
        with (
            (self.path / f"logs/{name}.out").open("wb") as out,
            (self.path / f"logs/{name}.err").open("wb") as err,
        ):
            done = subprocess.run(
                [told["executable"], *words],
                cwd=directory,
                env={**self.environ, **_environment(told.get("environment", ""))},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                check=False,
            )
        return done.returncode

    def _bring(self, sandbox: Path, file: str, told: Mapping[str, str]) -> None:
        remaps = told.get("transfer_output_remaps", "").strip('"')
        to = dict(one.split("=") for one in remaps.split(";") if one)
        if file.endswith("/"):
            shutil.copytree(sandbox / file, told["initialdir"], dirs_exist_ok=True)
        else:
            shutil.copy(sandbox / file, to.get(file, f"{told['initialdir']}/{file}"))

    def check(self, name: str, code: int, *rest: str) -> int:
        """The POST script."""
        words = [str(WORKER), "--check", f"{self.path}/records/{name}.json", str(code), *rest]
        return subprocess.run(words, env=self.environ, capture_output=True, check=False).returncode

    def go(self, nodes: Sequence[str] | None = None) -> dict[str, int]:
        """All nodes (or these), each once, those whose parents failed left out; the verdicts."""
        verdicts: dict[str, int] = {}
        for name in nodes or self.order():
            if name == "receipt" or not any(verdicts.get(one, 0) for one in self.dag.parents.get(name, ())):
                failed = str(sum(map(bool, verdicts.values())))
                rest = ("1" if failed != "0" else "0", failed) if name == "receipt" else ()
                verdicts[name] = self.check(name, self.run(name), *rest)
            else:
                verdicts[name] = 3
        return verdicts

    def record(self, name: str) -> Any:
        """The record of the last attempt."""
        return json.loads((self.path / f"records/{name}.json").read_bytes())

    def told(self, name: str) -> str:
        """What the job wrote to its error output; "" if it never ran."""
        path = self.path / f"logs/{name}.err"
        return path.read_text() if path.exists() else ""

    def provenance(self) -> list[Any]:
        """The lines of the log of all attempts."""
        return [json.loads(line) for line in (self.path / "provenance.jsonl").read_text().splitlines()]


def _environment(text: str) -> dict[str, str]:
    """HTCondor's new syntax, as far as the tests use it."""
    words = re.findall(r"'((?:[^']|'')*)'|(\S+)", text.strip('"').replace('""', '"'))
    return dict((a.replace("''", "'") or b).split("=", 1) for a, b in words)


@dataclass
class Done:
    """One node that ran alone. ``record``: what it left, ``None`` for nothing."""

    code: int
    start: Path
    record: Any
    error: str
    output: bytes

    def file(self, lfn: str) -> bytes:
        """An output, where it was brought."""
        return (self.start.parent / "scratch" / lfn).read_bytes()

    @property
    def meta(self) -> dict[str, Any]:
        """Attributes of each file in the ``.meta`` file."""
        found = json.loads((self.start / "n.meta").read_bytes())
        return {one["_id"]: one["_attributes"] for one in found}


def node(root: Path, **more: Any) -> dict[str, Any]:
    """The line of a compute node at ``pool``; ``inputs``: as in a bundle, or LFN to content, for scratch."""
    scratch = root / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    executable = more.pop("executable", ())
    inputs = list(given) if isinstance(given := more.pop("inputs", {}), list) else []
    for lfn, content in given.items() if isinstance(given, dict) else ():
        (scratch / lfn).parent.mkdir(parents=True, exist_ok=True)
        (scratch / lfn).write_bytes(content)
        inputs.append({"lfn": lfn, "executable": lfn in executable, "sources": [place(scratch / lfn)]})
    outputs = [{"lfn": lfn, "destinations": [place(scratch / lfn)]} for lfn in more.pop("outputs", ())]
    known = {"version": 1, "node": "n", "kind": "compute", "workflow": "w", "run": "r", "site": "pool"}
    known |= {"configuration": "nonsharedfs", "verify": True, "inputs": inputs, "outputs": outputs}
    return {**known, **more}


def place(path: Path | str) -> dict[str, str]:
    """A file of the site ``pool``."""
    return {"site": "pool", "url": path if isinstance(path, str) else f"file://{path}"}


def bundle(root: Path, *nodes: Mapping[str, Any]) -> Path:
    """A file with these lines."""
    path = root / "bundle.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in nodes))
    return path


def started(root: Path, path: Path, environ: Mapping[str, str], **more: Any) -> subprocess.Popen[bytes]:
    """The worker, at its work."""
    (root / "start").mkdir(exist_ok=True)
    return subprocess.Popen(
        [WORKER, "--bundle", path, "--node", "n"],
        cwd=root / "start",
        env={"PATH": os.environ["PATH"], "USER": "joe", **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **more,
    )


def ended(root: Path, process: subprocess.Popen[bytes]) -> Done:
    """What it left."""
    output, error = process.communicate(timeout=100)
    record = root / "start/n.json"
    told = json.loads(record.read_bytes()) if record.exists() else None
    return Done(process.returncode, root / "start", told, error.decode(), output)


def one_node(root: Path, *, environ: Mapping[str, str] = {}, limits: Any = None, **more: Any) -> Done:
    """Runs one node; ``more``: of its line. ``limits``: called in the worker's process before it begins."""
    path = bundle(root, node(root, **more))
    return ended(root, started(root, path, environ, preexec_fn=limits))
