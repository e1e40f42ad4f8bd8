"""Container images (``docker:``, ``oras:``, ``library:``, ``shub:``) as archives for Docker or SIF files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, quote

import msgspec

from pegasus_toolkit.transfer.backends.http.files import Reading
from pegasus_toolkit.transfer.backends.images import archive, tools
from pegasus_toolkit.transfer.backends.images.site import Site
from pegasus_toolkit.transfer.backends.shared.refusing import Refusing
from pegasus_toolkit.transfer.clients.curl.exchange import Answer
from pegasus_toolkit.transfer.clients.programs import Programs, workspace
from pegasus_toolkit.transfer.clients.registry import Descriptor, Manifest, Reference, reference
from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Cancelled,
    ServerFault,
    TransferError,
    Unsupported,
    from_oserror,
)
from pegasus_toolkit.transfer.interface import (
    Abilities,
    Backend,
    Data,
    Endpoint,
    Entry,
    Identified,
    Identity,
    Job,
    Settings,
    Sink,
)

SIF = (".sif", ".simg")
BLOCK = 1 << 20


class _Shub(msgspec.Struct):
    """What Singularity Hub says of an image: where its file is."""

    image: str


class Images(Refusing):
    """One registry, one image after the other. It is read from; nothing can be written."""

    abilities = Abilities(directories=False, quoted=True)

    def __init__(self, endpoint: Endpoint, settings: Settings) -> None:
        self.endpoint = endpoint
        self.site = Site(endpoint, settings)
        self.registry = self.site.registry
        self.programs = Programs(settings.environ)
        self._closed = False
        self._ways: dict[str, Callable[[Reference, str, Job[Sink]], None]] = {
            "docker": self._docker,
            "oras": self._oras,
            "library": self._library,
            "shub": self._shub,
        }

    def get(self, jobs: Iterator[Job[Sink]]) -> Iterator[Job[Sink]]:
        """Each image as one file."""
        for job in jobs:
            try:
                if self._closed:
                    raise Cancelled("closed", host=self.endpoint.host)
                ref, platform = self._asked(job.path)
                self._ways[self.endpoint.scheme](ref, platform, job)
            except TransferError as error:
                job.error = error
            except OSError as error:
                job.error = from_oserror(error, url=self._url(job.path), side="source")
            yield job

    def _asked(self, path: str) -> tuple[Reference, str]:
        """The image, and its platform: ``?platform=linux/arm64``, what the site says, this machine's."""
        plain, _, query = path.partition("?")
        asked = parse_qs(query).get("platform", [self.site.platform])
        return reference(self.endpoint.host, plain), asked[0]

    def _url(self, path: str) -> str:
        return f"{self.endpoint.scheme}://{self.endpoint.host}{path}"

    # -- docker --------------------------------------------------------------------------------------

    def _docker(self, ref: Reference, platform: str, job: Job[Sink]) -> None:
        sif = job.type == "singularity" or (not job.type and job.destination.endswith(SIF))
        if self.site.tool and sif == (self.site.tool in tools.SINGULARITY):
            self._by_tool(job.end, lambda file: self._pull(ref, file, job.end))
        elif sif:
            tools.find(self.programs, tools.SINGULARITY, ref)  # before anything is fetched
            self._converted(ref, platform, job.end)
        else:
            found = self._members(ref, platform)
            job.end.announce(archive.total(found))
            self._write(ref, found, job.end.write)

    def _pull(self, ref: Reference, file: str, sink: Sink) -> None:
        wanted = tools.Pull(ref, file, self.site.insecure)
        tools.pull(self.programs, self.site.tool, wanted, sink.passed)

    def _members(self, ref: Reference, platform: str) -> list[archive.Member]:
        account = self.site.account(ref.repository)
        return archive.members(ref, self.registry.image(ref, account, platform))

    def _write(self, ref: Reference, found: list[archive.Member], write: Callable[[Data], object]) -> None:
        account = self.site.account(ref.repository)
        for member in found:
            write(member.header)
            if isinstance(member.content, Descriptor):
                self.registry.blob(ref, member.content, account, write)
            else:
                write(member.content)
            if member.padding:
                write(member.padding)
        write(archive.END)

    def _converted(self, ref: Reference, platform: str, sink: Sink) -> None:
        with workspace() as directory:
            tar = directory / "image.tar"
            with tar.open("wb") as output:

                def write(data: Data) -> None:
                    sink.passed(0)  # raises once the run is to stop
                    output.write(data)

                self._write(ref, self._members(ref, platform), write)
            self._by_tool(sink, lambda file: tools.convert(self.programs, ref, str(tar), file, sink.passed))

    def _by_tool(self, sink: Sink, make: Callable[[str], None]) -> None:
        """What a program leaves in a file: under a name of ours, as theirs mean something else with ":"."""
        if sink.file is not None and ":" not in sink.file:
            make(sink.file)
            return
        with workspace() as directory:
            made = directory / "image"
            make(str(made))
            _copy(made, sink)

    # -- SIF files -----------------------------------------------------------------------------------

    def _oras(self, ref: Reference, platform: str, job: Job[Sink]) -> None:
        layer = self._only_layer(ref, platform)
        job.end.announce(layer.size)
        self.registry.blob(ref, layer, self.site.account(ref.repository), job.end.write)

    def _only_layer(self, ref: Reference, platform: str) -> Descriptor:
        account = self.site.account(ref.repository)
        manifest: Manifest = self.registry.image(ref, account, platform)
        layers = manifest.layers or []
        if len(layers) != 1 or "rootfs" in layers[0].media_type or ".tar" in layers[0].media_type:
            text = "no single file, but an image for Docker"
            raise Unsupported(text, url=ref.name, host=ref.host, hint=f"name it docker://{ref.name}")
        return layers[0]

    def _library(self, ref: Reference, platform: str, job: Job[Sink]) -> None:
        """Sylabs' Library API: the file itself, perhaps by a redirect."""
        named = ref.digest.replace(":", ".") or ref.tag
        path = f"/v1/imagefile/{ref.repository}:{quote(named)}?arch={quote(platform.split('/')[1])}"
        self._file(path, ref, job.end)

    def _shub(self, ref: Reference, platform: str, job: Job[Sink]) -> None:
        """Singularity Hub tells where the file is."""
        if ref.digest:
            raise BadSpecification("Singularity Hub knows no digests of SHA-256", url=ref.name)
        account = self.site.account(ref.repository)
        path = f"/api/container/{ref.repository}:{quote(ref.tag)}"
        answer = self.registry.file(path, ref, account, Answer)
        try:
            found = msgspec.json.decode(bytes(answer.body), type=_Shub)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise ServerFault("it does not tell where the image is", url=ref.name, host=ref.host) from None
        if not found.image.startswith(("https://", self.registry.session.base)):
            raise ServerFault("it tells no https URL of the image", url=ref.name, host=ref.host)
        self._file(found.image, ref, job.end)

    def _file(self, url: str, ref: Reference, sink: Sink) -> None:
        account = self.site.account(ref.repository)
        if ref.digest:
            sink.expect(*ref.digest.split(":"))
        self.registry.file(url, ref, account, lambda session, whole: Reading(session, whole, sink))

    # -- what else there is --------------------------------------------------------------------------

    def stat(self, path: str) -> Entry:
        """The size of the file that ``get`` gives, where it has but one form. Raises ``NotFound``."""
        ref, platform = self._asked(path)
        if self.endpoint.scheme == "docker":  # an archive or a SIF file, by us or by a program
            self._members(ref, platform)
            return Entry(path, None)
        return Entry(path, self._only_layer(ref, platform).size if self.endpoint.scheme == "oras" else None)

    def identity(self) -> Identity:
        """Which login is used."""
        return self.site.identity()

    def cannot(self, what: str, path: str) -> Unsupported:
        """Neither do registries list what they have."""
        hint = "name each image" if what.startswith("list") else "push with docker, podman or skopeo"
        return Unsupported(f"images are only pulled: cannot {what}", url=self._url(path), hint=hint)

    def close(self) -> None:
        """What is under way raises ``Cancelled``, and what runs is ended."""
        self._closed = True
        self.registry.close()
        self.programs.close()


def _copy(file: Path, sink: Sink) -> None:
    sink.announce(file.stat().st_size)
    with file.open("rb") as content:
        while block := content.read(BLOCK):
            sink.write(block)


def open_backend(endpoint: Endpoint, settings: Settings) -> Backend:
    """The opener that the table of protocols names. Connects to nothing yet."""
    return Images(endpoint, settings)


_: type[Backend] = Images
_identified: type[Identified] = Images
