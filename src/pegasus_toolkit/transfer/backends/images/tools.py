"""What programs of others do with images: make a SIF file of an archive; pull where a site wants that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from pegasus_toolkit.transfer.clients import programs
from pegasus_toolkit.transfer.clients.programs import Programs
from pegasus_toolkit.transfer.clients.registry import Reference
from pegasus_toolkit.transfer.errors import Denied, ServerFault, Throttled, TransferError, Unsupported

SINGULARITY = ("apptainer", "singularity")


def _skopeo(tool: str, image: str, file: str, insecure: bool) -> list[list[str]]:
    words = [tool, "copy", "--quiet", *(["--src-tls-verify=false"] if insecure else [])]
    return [[*words, f"docker://{image}", f"docker-archive:{file}:{image.partition('@')[0]}"]]


def _podman(tool: str, image: str, file: str, insecure: bool) -> list[list[str]]:
    words = [tool, "pull", "--quiet", *(["--tls-verify=false"] if insecure else []), f"docker://{image}"]
    return [words, [tool, "save", "--quiet", "--output", file, image]]


def _docker(tool: str, image: str, file: str, insecure: bool) -> list[list[str]]:
    return [[tool, "pull", "--quiet", image], [tool, "save", "--output", file, image]]


def _singularity(tool: str, image: str, file: str, insecure: bool) -> list[list[str]]:
    words = [tool, "pull", "--force", *(["--no-https"] if insecure else [])]
    return [[*words, file, f"docker://{image}"]]


PULLS: Mapping[str, Callable[[str, str, str, bool], list[list[str]]]] = {
    "skopeo": _skopeo,
    "podman": _podman,
    "docker": _docker,
    "apptainer": _singularity,
    "singularity": _singularity,
}
"""What ``tool`` in a registry's section may say, and the commands that leave the image in a file."""


class Pull(NamedTuple):
    """An image, and the file that it is to be in; ``insecure``: nobody's certificate is looked at."""

    ref: Reference
    file: str
    insecure: bool


def find(runner: Programs, names: tuple[str, ...], ref: Reference) -> str:
    """The path of the first that is there. Raises ``Unsupported``."""
    found = runner.find(*names)
    if not found:
        hint = "install one of them, or have the image as an archive for Docker: a destination NAME.tar"
        hint = hint if names == SINGULARITY else "it is named by tool in the registry's section"
        raise Unsupported(f"needs {' or '.join(names)}, not on PATH here", url=ref.name, hint=hint)
    return found


def pull(runner: Programs, tool: str, wanted: Pull, passed: Callable[[int], None]) -> None:
    """Has the program fetch the image. Raises what its words are taken for."""
    ref, file, insecure = wanted
    path = find(runner, (tool,), ref)
    for words in PULLS[tool](path, ref.name, file, insecure):
        ended = runner.run(words, passed, moved=lambda: programs.size(file))
        if ended.status:
            raise _refused(tool, ended.said, ended.line(), ref)


def convert(runner: Programs, ref: Reference, archive: str, file: str, passed: Callable[[int], None]) -> None:
    """A SIF file of an archive for Docker."""
    path = find(runner, SINGULARITY, ref)
    words = [path, "build", "--force", file, f"docker-archive:{archive}"]
    ended = runner.run(words, passed, moved=lambda: programs.size(file))
    if ended.status or not programs.size(file):
        text = f"{path} did not make a SIF file: {ended.line()}"
        raise ServerFault(text, url=ref.name, side="source")


def _refused(tool: str, said: str, line: str, ref: Reference) -> TransferError:
    """These programs have one exit status for everything: what registries call it is looked for."""
    kind: type[TransferError] = ServerFault
    if "toomanyrequests" in said:
        kind = Throttled
    elif "unauthorized" in said.lower() or "denied" in said.lower():
        kind = Denied
    return kind(f"{tool}: {line}", url=ref.name, host=ref.host, side="source")
