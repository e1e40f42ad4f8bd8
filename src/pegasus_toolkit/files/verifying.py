"""Files against each other, or against a manifest or a receipt, without copying them.

Sizes first, then digests: the server's own where it tells them, else of what is read. Files here are read,
whatever a cache knows.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from pegasus_toolkit.files import listing
from pegasus_toolkit.files.copying import Choice
from pegasus_toolkit.files.digesting import Digest, Digester
from pegasus_toolkit.files.listing import Item, Tree
from pegasus_toolkit.files.places import SITE, Wrong, last, look, moved, place, shown
from pegasus_toolkit.integrity import digests, manifest, regular
from pegasus_toolkit.schemes import LOCAL
from pegasus_toolkit.transfer import url as urls
from pegasus_toolkit.transfer.engine.pool import Pool
from pegasus_toolkit.transfer.errors import NotFound, TransferError
from pegasus_toolkit.transfer.model import Location

Kind = Literal["missing", "extra", "differs", "unreadable"]


class Difference(NamedTuple):
    """What is wrong with one file; ``detail`` is for people."""

    name: str
    kind: Kind
    detail: str


class Verdict:
    """What a verification has found. ``files``: compared; ``by``: who told digests: "server", "read"."""

    def __init__(self) -> None:
        self.files = 0
        self.by: Counter[str] = Counter()
        self.differences: list[Difference] = []
        self.skipped: list[tuple[str, str]] = []

    def __repr__(self) -> str:
        return f"Verdict(files={self.files}, by={dict(self.by)}, differences={self.differences})"

    def add(self, name: str, kind: Kind, detail: str) -> None:
        """One more difference."""
        self.differences.append(Difference(name, kind, detail))

    def judge(
        self, name: str, expected: Digest | TransferError | None, found: Digest | TransferError | None
    ) -> None:
        """Two digests of what should be one content."""
        for side in (expected, found):
            if isinstance(side, TransferError):
                self.add(name, "missing" if isinstance(side, NotFound) else "unreadable", str(side))
                return
        if not isinstance(expected, Digest) or not isinstance(found, Digest):
            self.add(name, "unreadable", "no digest could be taken")
            return
        self.files += 1
        self.by[found.by] += 1
        if expected[:2] != found[:2]:
            self.add(name, "differs", f"{found.algorithm} is {found.value}, expected {expected.value}")


def places(first: str, second: str, pool: Pool, choice: Choice, one_way: bool = False) -> Verdict:
    """Two files, or all files of two directories. ``one_way``: what is only in the second is fine.

    Raises ``TransferError`` where a place is not there, or cannot be listed.
    """
    trees = [_tree(place(text), pool, choice) for text in (first, second)]
    (one, single), (other, alone) = trees
    if single != alone:
        raise Wrong(f"a file and a directory: {first}, {second}")
    verdict = Verdict()
    verdict.skipped = [*one.skipped, *other.skipped]
    alike = _by_name(one, other, verdict, one_way)
    ours, theirs = Digester(pool, None).pairs(one, other, alike)
    for name in alike:
        verdict.judge(name or last(one.root), ours.get(name), theirs.get(name))
    verdict.differences.sort()
    return verdict


def _tree(where: Location, pool: Pool, choice: Choice) -> tuple[Tree, bool]:
    """What is below it; and whether it is one file, which is called ""."""
    entry = look(where, pool)
    if entry.directory:
        return listing.read(where, pool, choice.filters, choice.links), False
    tree = Tree(where)
    tree.items[""] = Item("", entry.size, entry.modified)
    return tree, True


def _by_name(one: Tree, other: Tree, verdict: Verdict, one_way: bool) -> list[str]:
    """Names of both with the same size; what is wrong with others goes to the verdict."""
    alike: list[str] = []
    for name, item in one.items.items():
        there = other.items.get(name)
        if item.directory:
            continue
        if there is None or there.directory:
            verdict.add(name, "missing", f"is in {shown(one.root)} only")
        elif item.link or there.link:
            if item.link != there.link:
                verdict.add(name, "differs", f"link to {there.link!r}, expected {item.link!r}")
        elif None not in (item.size, there.size) and item.size != there.size:
            verdict.files += 1
            verdict.add(name, "differs", f"{there.size} bytes, expected {item.size}")
        else:
            alike.append(name)
    for name, item in () if one_way else other.items.items():
        if not item.directory and name not in one.items:
            verdict.add(name, "extra", f"is in {shown(other.root)} only")
    return alike


def against_manifest(
    file: str, where: str, pool: Pool, choice: Choice, *, one_way: bool = False, algorithm: str = "sha256"
) -> Verdict:
    """A directory against a manifest as ``sha256sum`` writes it. Raises :class:`Wrong` for one of no use."""
    expected = _manifest(file, algorithm)
    root = place(where)
    tree = listing.read(root, pool, choice.filters, choice.links)
    if root.scheme in LOCAL:  # the manifest may stand in the tree
        own = os.path.realpath(file).removeprefix(os.path.realpath(root.path).rstrip("/") + "/")
        if own not in expected:
            tree.items.pop(own, None)
    verdict = Verdict()
    verdict.skipped = tree.skipped
    names = [name for name, item in tree.items.items() if not item.directory and not item.link]
    for name in expected.keys() - set(names):
        if choice.filters.keeps(name):
            verdict.add(name, "missing", "is in the manifest, and not there")
    for name in () if one_way else set(names) - expected.keys():
        verdict.add(name, "extra", "is there, and not in the manifest")
    common = [name for name in names if name in expected]
    found = Digester(pool, None).of(tree, common, algorithm)
    for name in common:
        verdict.judge(name, Digest(algorithm, expected[name], ""), found.get(name))
    verdict.differences.sort()
    return verdict


def _manifest(file: str, algorithm: str) -> Mapping[str, str]:
    try:
        expected = manifest.read(file, digests.canonical(algorithm))
    except OSError as error:
        raise Wrong(f"cannot read {file}: {error.strerror}") from error
    except ValueError as error:
        raise Wrong(str(error)) from error
    if not expected:
        raise Wrong(f"no file is named in the manifest {file}")
    return expected


class Stored(NamedTuple):
    """A file as a receipt tells of it. ``size`` in bytes, ``None`` where not told."""

    where: Location
    digest: Digest
    size: int | None


def is_receipt(file: str) -> bool:
    """Whether it is JSON (a receipt or a report), and no manifest. Raises :class:`Wrong`."""
    try:
        return regular.read(file).lstrip()[:1] in (b"{", b"[")
    except OSError as error:
        raise Wrong(f"cannot read {file}: {error.strerror}") from error


def against_receipt(file: str, pool: Pool) -> Verdict:
    """All files that a workflow's receipt, or a report of ``pegasus-transfer``, says were put somewhere.

    Raises :class:`Wrong` for a file of another kind, or that names no file with a digest.
    """
    try:
        stored = list(_stored(file))
    except (KeyError, TypeError, AttributeError) as error:
        raise Wrong(f"{file} is no receipt or report of ours") from error
    if not stored:
        raise Wrong(f"no file with a digest in {file}")
    verdict = Verdict()
    digester = Digester(pool, None)
    groups: dict[tuple[Any, str], list[Stored]] = {}
    for one in stored:
        groups.setdefault((one.where.endpoint, one.digest.algorithm), []).append(one)
    for (_, algorithm), files in groups.items():
        tree = Tree(moved(files[0].where, "/"))
        names = {one.where.path.lstrip("/"): one for one in files}
        for name, one in names.items():
            tree.items[name] = Item(name, one.size, path=one.where.path)
        found = digester.of(tree, list(names), algorithm)
        for name, one in names.items():
            verdict.judge(urls.text(one.where), one.digest, found.get(name))
    verdict.differences.sort()
    return verdict


def _stored(file: str) -> Iterator[Stored]:
    for told in _objects(file):
        receipt = told.get("receipt") or told
        for output in receipt.get("outputs", ()):
            digest = Digest(output.get("algorithm", ""), output.get("digest", ""), "")
            for put in output.get("places", ()) if digest.value else ():
                yield Stored(urls.parse(put["url"], SITE, {}), digest, output.get("size"))
        if (
            told.get("type") == "transfer"
            and told.get("status") in ("done", "skipped")
            and told.get("digest")
        ):
            digest = Digest(told["digest"]["type"], told["digest"]["value"], "")
            where = urls.parse(told["destination"]["url"], told["destination"].get("site", SITE), {})
            yield Stored(where, digest, told.get("bytes"))


def _objects(file: str) -> Iterator[dict[str, Any]]:
    content = regular.read(file)
    try:
        whole = [msgspec.json.decode(content)]
    except msgspec.DecodeError:
        try:
            whole = [msgspec.json.decode(line) for line in content.splitlines() if line.strip()]
        except msgspec.DecodeError as error:
            raise Wrong(f"{file} is no receipt, report or manifest: {error}") from None
    yield from (one for one in whole if isinstance(one, dict))
