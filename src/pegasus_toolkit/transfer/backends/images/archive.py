"""An image as the archive that ``docker load`` reads: the same bytes for the same image."""

from __future__ import annotations

import json
import tarfile
from typing import NamedTuple

from pegasus_toolkit.transfer.clients.registry import Descriptor, Manifest, Reference
from pegasus_toolkit.transfer.errors import Unsupported

BLOCK = 512
SIF = "application/vnd.sylabs.sif.layer.v1.sif"


class Member(NamedTuple):
    """One file of the archive: its header, and its content, or where that comes from."""

    header: bytes
    content: bytes | Descriptor

    @property
    def size(self) -> int:
        """Bytes of the content."""
        return self.content.size if isinstance(self.content, Descriptor) else len(self.content)

    @property
    def padding(self) -> bytes:
        """What follows the content."""
        return b"\0" * (-self.size % BLOCK)


END = b"\0" * 2 * BLOCK


def members(ref: Reference, manifest: Manifest) -> list[Member]:
    """The files of the archive, in their order; a layer that is there twice, once."""
    assert manifest.config is not None and manifest.layers is not None
    if any(layer.media_type == SIF for layer in manifest.layers):
        hint = f"it is a SIF file: name it oras://{ref.name}"
        raise Unsupported("not an image of Docker's or OCI's", url=ref.name, host=ref.host, hint=hint)
    for layer in manifest.layers:
        if "foreign" in layer.media_type or "nondistributable" in layer.media_type:
            raise Unsupported("it has layers that no registry gives", url=ref.name, host=ref.host)
    names = {layer.digest: f"{_hex(layer)}.tar" for layer in manifest.layers}
    table = {
        "Config": f"{_hex(manifest.config)}.json",
        "RepoTags": [f"{ref.untagged}:{ref.tag}"] if ref.tag else [],
        "Layers": [names[layer.digest] for layer in manifest.layers],
    }
    listed = json.dumps([table], separators=(",", ":")).encode()
    found = [_member("manifest.json", listed), _member(table["Config"], manifest.config)]
    return found + [_member(names[layer.digest], layer) for layer in _once(manifest.layers)]


def total(found: list[Member]) -> int:
    """Bytes of the whole archive."""
    return sum(len(one.header) + one.size + len(one.padding) for one in found) + len(END)


def _member(name: object, content: bytes | Descriptor) -> Member:
    info = tarfile.TarInfo(str(name))
    info.size = content.size if isinstance(content, Descriptor) else len(content)
    return Member(info.tobuf(tarfile.GNU_FORMAT), content)


def _once(layers: list[Descriptor]) -> list[Descriptor]:
    return list({layer.digest: layer for layer in layers}.values())


def _hex(one: Descriptor) -> str:
    return one.digest.partition(":")[2]
