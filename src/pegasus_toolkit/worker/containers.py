"""How a task is run in its container: the words of Docker, Podman, Singularity, Apptainer and Shifter.

The directory that the task runs in is mounted where Pegasus mounts it, and is the task's working directory:
``/scratch``, for Singularity ``/srv``. Inside, the task is the user that the worker is.
"""

# pathlib would cost start-up time
# ruff: noqa: PTH118

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from pegasus_toolkit.planner.model import ContainerUse
from pegasus_toolkit.worker.failure import EXIT_PERMANENT, EXIT_RETRY, Failed

_SCRATCH, _SRV = "/scratch", "/srv"
_PATIENCE = 60  # seconds for what only tells a container to end
_SOCKETS = ("/var/run/docker.sock", "/run/docker.sock")
# Variables that the program which starts containers would take for its own.
_ITS_OWN = ("PATH", "HOME", "TMPDIR", "DOCKER_", "CONTAINER", "BUILDAH_", "XDG_", "LD_", "REGISTRY_")


class Contained(NamedTuple):
    """A command line that runs another one in a container; ``environment``: added to the worker's own."""

    words: tuple[str, ...]
    environment: Mapping[str, str]
    end: Callable[[], None]
    broken: frozenset[int]  # exit codes that say that there was no container, rather than the task's own


class Wanted(NamedTuple):
    """What is to be run: ``words`` in ``directory``, with these variables; ``stdin``: it reads one."""

    use: ContainerUse
    words: Sequence[str]
    directory: str
    environment: Mapping[str, str]
    stdin: bool = False


def contain(wanted: Wanted, environ: Mapping[str, str]) -> Contained:
    """The command line. Loads the image where it is a file for Docker. Raises :class:`Failed`."""
    kind = wanted.use.type
    path = environ.get("PATH", os.defpath)
    if kind == "docker":
        program = _docker(path, environ)
        return docker(wanted, program, _image(wanted, program, environ), os.urandom(6).hex())
    if kind == "singularity":
        return singularity(wanted, _found(path, "apptainer", "singularity"))
    if kind == "shifter":
        return shifter(wanted, _found(path, "shifter"))
    raise Failed(f"no containers of the type {kind!r} are known here", EXIT_PERMANENT, "plan")


def _found(path: str, *names: str) -> str:
    for name in names:
        if found := shutil.which(name, path=path):
            return found
    # The next machine that the job comes to may have one.
    raise Failed(
        f"{' or '.join(names)} is not on PATH of this machine, and the task needs it", EXIT_RETRY, "container"
    )


def _docker(path: str, environ: Mapping[str, str]) -> str:
    """Docker if its service can be reached, else Podman, which needs none, if it is there."""
    docker, podman = shutil.which("docker", path=path), shutil.which("podman", path=path)
    reached = environ.get("DOCKER_HOST") or any(os.access(one, os.W_OK) for one in _SOCKETS)
    if docker and (reached or not podman):
        return docker
    return podman or _found(path, "docker", "podman")


def docker(wanted: Wanted, program: str, image: str, mark: str) -> Contained:
    """For Docker and Podman; ``mark``: makes the container's name a unique one."""
    use, name = wanted.use, f"pegasus-{mark}"
    variables = {**use.environment, **wanted.environment}
    words = [program, "run", "--rm", "--name", name, "--user", f"{os.getuid()}:{os.getgid()}"]
    if os.path.basename(program) == "podman" and os.getuid():  # noqa: PTH119
        words += ["--userns", "keep-id"]
    words += ["--security-opt", "label=disable"]  # files that are mounted keep their SELinux labels
    words += ["--interactive"] if wanted.stdin else []
    words += ["--mount", _mount(wanted.directory, _SCRATCH), "--workdir", _SCRATCH]
    words += [word for mount in use.mounts for word in ("--volume", mount)]
    passed = {key: value for key, value in variables.items() if not key.startswith(_ITS_OWN)}
    for key, value in variables.items():  # by name where that is possible: all can see a command line
        words += ["--env", key if key in passed else f"{key}={value}"]
    words += [*use.arguments, image, *wanted.words]

    def end() -> None:
        """Signals to the client do not always reach the container."""
        try:
            quiet = subprocess.DEVNULL
            subprocess.run(
                [program, "kill", name], stdout=quiet, stderr=quiet, timeout=_PATIENCE, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return

    return Contained(tuple(words), passed, end, frozenset([125]))


def _mount(source: str, target: str) -> str:
    """In CSV, as the option takes it."""
    field = f"source={source}"
    if any(c in field for c in ',"'):
        field = '"' + field.replace('"', '""') + '"'
    return f"type=bind,{field},target={target}"


def _image(wanted: Wanted, program: str, environ: Mapping[str, str]) -> str:
    """The image's name, for Docker: that of the registry, or that of the file that is loaded."""
    use = wanted.use
    if not use.file:
        name = use.image.partition("://")[2].lstrip("/") or use.image
        return name if os.path.basename(program) != "podman" else _qualified(name, program, environ)  # noqa: PTH119
    words = [program, "load", "--quiet", "--input", os.path.join(wanted.directory, use.file)]
    done = subprocess.run(words, env=environ, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("Loaded image")]
    if done.returncode or not lines:
        told = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise Failed(f"the image {use.file!r} cannot be loaded: {told}", EXIT_RETRY, "container")
    return lines[-1].partition(": ")[2].split(",")[0].strip()


def _qualified(name: str, program: str, environ: Mapping[str, str]) -> str:
    """The image's name for Podman, which knows no default registry; for Docker that is Docker Hub."""
    host = name.partition("/")[0] if "/" in name else ""
    if "." in host or ":" in host or host == "localhost":
        return name
    words = [program, "image", "exists", name]
    here = subprocess.run(words, env=environ, capture_output=True, check=False).returncode == 0
    return name if here else f"docker.io/{name}"


def singularity(wanted: Wanted, program: str) -> Contained:
    """For Singularity and Apptainer."""
    use = wanted.use
    prefix = "APPTAINERENV_" if os.path.basename(program) == "apptainer" else "SINGULARITYENV_"  # noqa: PTH119
    words = [program, "exec", "--no-home"]
    if set(",:") & set(wanted.directory):
        words += ["--mount", _mount(wanted.directory, _SRV)]
    else:
        words += ["--bind", f"{wanted.directory}:{_SRV}"]
    words += ["--pwd", _SRV]
    words += [word for mount in use.mounts for word in ("--bind", mount)]
    image = use.image
    if use.file:
        image = os.path.join(wanted.directory, use.file)
        image = f"docker-archive:{image}" if ".tar" in use.file else image
    words += [*use.arguments, image, *wanted.words]
    variables = {**use.environment, **wanted.environment}
    environment = {f"{prefix}{key}": value for key, value in variables.items()}
    return Contained(tuple(words), environment, lambda: None, frozenset([255]))


def shifter(wanted: Wanted, program: str) -> Contained:
    """For Shifter, which knows images by the names that its administrators pulled them under."""
    use = wanted.use
    scheme, _, name = use.image.rpartition("://")
    image = f"docker:{name.lstrip('/')}" if scheme == "docker" else name.lstrip("/")
    words = [program, f"--image={image}", f"--volume={wanted.directory}:{_SCRATCH}", f"--workdir={_SCRATCH}"]
    words += [f"--volume={mount}" for mount in use.mounts]
    words += [*use.arguments, *wanted.words]
    return Contained(tuple(words), {**use.environment, **wanted.environment}, lambda: None, frozenset())
