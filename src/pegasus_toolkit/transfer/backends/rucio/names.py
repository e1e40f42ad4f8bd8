"""What DIDs stand for: files; datasets and containers, which are directories; and names with "/" in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from typing import Any

from pegasus_toolkit.transfer.backends.rucio.site import Catalog, Did, did_of
from pegasus_toolkit.transfer.errors import IsDirectory, NotFound, TransferError
from pegasus_toolkit.transfer.interface import Entry

BULK = 1000  # DIDs in one question
Known = tuple[Did, dict[str, Any]]


class Names:
    """Paths as the engine has them, and what the catalog says of them."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._content: dict[
            Did, dict[str, dict[str, Any]]
        ] = {}  # of collections, by the name in the directory

    def missing(self, path: str) -> NotFound:
        """What is not there."""
        text = "no such data identifier"
        return NotFound(text, url=self.catalog.url(path), host=self.catalog.host, side="source")

    def known(self, paths: Iterable[str], wrong: dict[str, Any]) -> dict[str, Known]:
        """DID and metadata of each; errors go to ``wrong``."""
        dids: dict[str, Did] = {}
        for path in paths:
            try:
                dids[path] = did_of(path)
            except TransferError as error:
                wrong[path] = error
        told = self.alive(dids.values())
        found: dict[str, Known] = {path: (did, told[did]) for path, did in dids.items() if did in told}
        rest = {path: did for path, did in dids.items() if path not in found}
        found |= self._members(rest)
        for path in rest:
            if path not in found:
                wrong[path] = self.missing(path)
        return found

    def alive(self, dids: Iterable[Did]) -> dict[Did, dict[str, Any]]:
        """Those that the catalog knows, and that nobody has erased."""
        asked, found = list(dict.fromkeys(dids)), {}
        for at in range(0, len(asked), BULK):
            for did, told in self.catalog.known(asked[at : at + BULK]).items():
                if alive(told):
                    found[did] = told
        return found

    def _members(self, paths: dict[str, Did]) -> dict[str, Known]:
        """Those that are ``scope:dataset/name``."""
        above = {path: list(_above(did)) for path, did in paths.items()}
        new = {did for all_of in above.values() for did, _ in all_of} - self._content.keys()
        for did, told in self.alive(new).items():
            if told["did_type"] != "FILE":
                self._content[did] = self.content(did)
        found: dict[str, Known] = {}
        for path, all_of in above.items():
            for did, name in all_of:
                if member := self._content.get(did, {}).get(name):
                    found[path] = Did(member["scope"], member["name"]), member
        return found

    def content(self, did: Did) -> dict[str, dict[str, Any]]:
        """The files of a collection by their names in the directory: with the scope where two are alike."""
        files = self.catalog.ask(lambda client: list(client.list_files(did.scope, did.name)), f"/{did}")
        count = Counter(one["name"] for one in files)
        return {
            one["name"].lstrip("/") if count[one["name"]] == 1 else f"{one['scope']}:{one['name']}": {
                **one,
                "did_type": "FILE",
            }
            for one in files
        }

    def below(self, did: Did) -> dict[Did, dict[str, Any]]:
        """Files whose names begin with that of a directory."""
        name = did.name.rstrip("/") + "/"
        found = self.catalog.ask(
            lambda client: list(client.list_dids(did.scope, [{"name": f"{name}*"}], did_type="file")),
            f"/{did}",
        )
        return self.alive(Did(did.scope, one) for one in found if one.startswith(name))

    def list(self, path: str) -> Iterator[Entry]:
        """Raises ``NotFound``."""
        did = did_of(path)
        top = f"/{did}"
        told = self.alive([did]).get(did)
        if told is not None and told["did_type"] != "FILE":
            self._content[did] = self.content(did)
            for name, one in self._content[did].items():
                yield _entry(f"{top}/{name}", one)
            return
        found = self.below(did) if told is None else {}
        if not found:
            raise self.missing(path)
        for member, one in found.items():
            yield _entry(f"/{member}", one)

    def stat(self, path: str) -> Entry:
        """Raises ``NotFound``."""
        wrong: dict[str, Any] = {}
        found = self.known([path], wrong)
        if path in found:
            return _entry(path, found[path][1])
        if isinstance(wrong[path], NotFound) and self.below(did_of(path)):
            return Entry(path, None, True)
        raise wrong[path]

    def erase(self, path: str, recursive: bool) -> None:
        """The DID's time is over: Rucio removes its replicas, unless a rule of another account holds them."""
        did = did_of(path)
        told = self.alive([did]).get(did)
        dids = [did]
        if told is None:
            dids = list(self.below(did))
            if dids and not recursive:
                raise IsDirectory("a directory", url=self.catalog.url(path))
        elif told["did_type"] != "FILE" and not recursive:
            raise IsDirectory(f"a {told['did_type'].lower()}", url=self.catalog.url(path))
        for one in dids if told is not None or recursive else ():
            self.catalog.erase(one)


def alive(told: dict[str, Any] | None) -> bool:
    """Whether nobody has erased a DID, nor its time is over."""
    now = datetime.now(timezone.utc).replace(tzinfo=None)  # as Rucio tells times
    return told is not None and (told["expired_at"] is None or told["expired_at"] > now)


def _above(did: Did) -> Iterator[tuple[Did, str]]:
    """Each DID that may be a collection with the rest of the name in it."""
    for at, letter in enumerate(did.name):
        if letter == "/" and at:
            yield Did(did.scope, did.name[:at]), did.name[at + 1 :]


def _entry(path: str, told: dict[str, Any]) -> Entry:
    if told["did_type"] != "FILE":
        return Entry(path, None, True)
    digest = next(((name, told[name]) for name in ("md5", "adler32") if told.get(name)), None)
    return Entry(path, told["bytes"], digest=digest)
