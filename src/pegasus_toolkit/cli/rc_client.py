"""``pegasus-rc-client``: looks into the YAML replica catalog, and changes it."""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

from pegasus_toolkit import __version__
from pegasus_toolkit.cli import replica_file
from pegasus_toolkit.cli.help import Help
from pegasus_toolkit.cli.replica_file import Entry

DESCRIPTION = """\
Looks into the replica catalog (YAML), and changes it. The catalog is the one that the properties name, else
replicas.yml in the working directory. Others may do the same at the same time."""

EPILOG = """\
commands:
  lookup LFN...                  places of these files
  list [lfn|pfn|KEY PATTERN]...  places for which all patterns hold (* and ?); KEY: site, or of the metadata
  insert LFN PFN [KEY=VALUE]...  enters a place; site= (else local), checksum.value=; others are metadata
  delete LFN PFN [site=SITE]     takes a place out
  remove LFN...                  takes files out with all their places
  clear                          takes everything out

exit codes: 0 done; 1 a file or place is not there; 2 the command or the catalog is wrong: nothing changed."""

_NAME = "pegasus-rc-client"
_KEY = "pegasus.catalog.replica"
_DEFAULT = "replicas.yml"


class _Refused(Exception):
    """One line that says why."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    try:
        options = _parser().parse_args(argv)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 2
    try:
        return _run(list(_commands(options)), _catalog(options), options.json)
    except _Refused as error:
        print(f"{_NAME}: {error}", file=sys.stderr)
    except replica_file.Wrong as error:
        for line in error.lines:
            print(f"{_NAME}: {line}", file=sys.stderr)
    except OSError as error:
        print(f"{_NAME}: {error.filename}: {error.strerror}", file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_NAME,
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=Help,
    )
    add = parser.add_argument
    add("-D", action="append", default=[], metavar="KEY=VALUE", dest="define", help="a property of its own")
    add("-c", "--conf", metavar="FILE", help="properties (default: pegasus.properties)")
    add("-f", "--file", metavar="FILE", help="commands, one a line; - is the standard input")
    add("-i", "--insert", metavar="FILE", help="lines LFN PFN [KEY=VALUE]...: what to insert")
    add("-d", "--delete", metavar="FILE", help="lines LFN PFN [site=SITE]: what to delete")
    add("--json", action="store_true", help="lookup and list: as JSON")
    add("-p", "--pref", action="append", help=argparse.SUPPRESS)
    add("-V", "--version", action="version", version=f"pegasus-toolkit {__version__}")
    add("words", nargs="*", metavar="COMMAND", help="see below")
    return parser


def _commands(options: argparse.Namespace) -> Iterator[list[str]]:
    """All that is asked for, a list of words each."""
    if options.words:
        yield options.words
    for file, before in ((options.file, []), (options.insert, ["insert"]), (options.delete, ["delete"])):
        if file is None:
            continue
        text = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
        for number, line in enumerate(text.splitlines(), 1):
            try:
                words = shlex.split(line, comments=True)
            except ValueError as error:
                raise _Refused(f"{file}:{number}: {error}") from None
            if words:
                yield [*before, *words]


def _catalog(options: argparse.Namespace) -> str:
    from pegasus_toolkit.cli import plan_settings
    from pegasus_toolkit.planner.model import Above

    found = plan_settings.properties(options, Above(base=str(Path.cwd())), os.environ)
    if found.problems:
        raise replica_file.Wrong(map(str, found.problems))
    kind = found.values.get(_KEY, "YAML")
    if kind.upper() != "YAML":
        raise _Refused(f"{_KEY} = {kind}: only the YAML catalog is changed here")
    return found.values.get(f"{_KEY}.file", _DEFAULT)


class _Session(NamedTuple):
    """The catalog under change; ``found``: what the commands are to tell."""

    entries: dict[str, Entry]
    found: list[Entry]


def _run(commands: list[list[str]], path: str, as_json: bool) -> int:
    from pegasus_toolkit.worker.registration import locked

    if not commands:
        raise _Refused("expected a command: lookup, list, insert, delete, remove or clear")
    changes = any(words[0] not in ("lookup", "list") for words in commands)
    with locked(str(Path(path).absolute())) if changes else nullcontext():
        absent = changes and not Path(path).exists()
        session = _Session(_by_lfn([] if absent else replica_file.read(path, os.environ)), [])
        code = max([_done(words, session) for words in commands])
        if changes:
            replica_file.write(path, session.entries.values())
    if as_json:
        print(json.dumps({"catalog": path, "replicas": session.found}, indent=1))
    else:
        _print(session.found)
    return code


def _by_lfn(entries: Iterable[Entry]) -> dict[str, Entry]:
    """One entry each; several of one LFN are joined."""
    found: dict[str, Entry] = {}
    for entry in entries:
        known = found.setdefault(str(entry["lfn"]), entry)
        if known is not entry:
            known["pfns"] = [*known["pfns"], *(one for one in entry["pfns"] if one not in known["pfns"])]
            if "metadata" in entry:
                known["metadata"] = {**entry["metadata"], **known.get("metadata", {})}
    return found


def _done(words: list[str], session: _Session) -> int:
    """Does one command; 1 where what it names is not there. Raises :class:`_Refused`."""
    commands: Mapping[str, Callable[[list[str], _Session], int]] = {
        "lookup": _lookup,
        "list": _list,
        "insert": _insert,
        "delete": _delete,
        "remove": _remove,
        "clear": _clear,
    }
    if words[0] not in commands:
        raise _Refused(f"no command {words[0]!r}; there are {', '.join(commands)}")
    return commands[words[0]](words[1:], session)


def _lookup(lfns: list[str], session: _Session) -> int:
    session.found.extend(session.entries[lfn] for lfn in lfns if lfn in session.entries)
    return _missing(lfns, session.entries)


def _list(words: list[str], session: _Session) -> int:
    if len(words) % 2:
        raise _Refused("list takes pairs: lfn PATTERN, pfn PATTERN, KEY PATTERN")
    wanted = dict(zip(words[::2], words[1::2], strict=True))
    for entry in session.entries.values():
        for place in entry["pfns"]:
            known = {**replica_file.metadata(entry), **place, "lfn": entry["lfn"]}
            if all(fnmatch.fnmatchcase(str(known.get(key, "")), value) for key, value in wanted.items()):
                session.found.append({**entry, "pfns": [place]})
    return 0


def _insert(words: list[str], session: _Session) -> int:
    lfn, pfn, given = _place("insert", words)
    entry = session.entries.setdefault(lfn, {"lfn": lfn, "pfns": []})
    place = {"site": given.pop("site", given.pop("pool", "local")), "pfn": pfn}
    if place not in entry["pfns"]:
        entry["pfns"] = [*entry["pfns"], place]
    digest = given.pop("checksum.value", "")
    kind = given.pop("checksum.type", "sha256")
    if digest:
        entry["checksum"] = {kind: digest}
    if given:
        entry["metadata"] = {**entry.get("metadata", {}), **given}
    return 0


def _delete(words: list[str], session: _Session) -> int:
    lfn, pfn, given = _place("delete", words)
    entries = session.entries
    places = entries[lfn]["pfns"] if lfn in entries else []
    left = [
        one for one in places if one["pfn"] != pfn or given.get("site", one.get("site")) != one.get("site")
    ]
    if len(left) == len(places):
        print(f"{_NAME}: {lfn}: there is no such place: {pfn}", file=sys.stderr)
        return 1
    if left:
        entries[lfn]["pfns"] = left
    else:
        del entries[lfn]
    return 0


def _remove(lfns: list[str], session: _Session) -> int:
    code = _missing(lfns, session.entries)
    for lfn in lfns:
        session.entries.pop(lfn, None)
    return code


def _clear(words: list[str], session: _Session) -> int:
    if words:
        raise _Refused("clear takes nothing")
    session.entries.clear()
    return 0


def _place(command: str, words: list[str]) -> tuple[str, str, dict[str, str]]:
    if len(words) < 2 or not all("=" in one for one in words[2:]):
        raise _Refused(f"{command} takes LFN PFN [KEY=VALUE]..., found {' '.join(words)!r}")
    return words[0], words[1], dict(one.split("=", 1) for one in words[2:])


def _missing(lfns: list[str], entries: Mapping[str, Entry]) -> int:
    if not lfns:
        raise _Refused("expected an LFN")
    gone = [lfn for lfn in lfns if lfn not in entries]
    for lfn in gone:
        print(f"{_NAME}: {lfn}: there is no such file in the catalog", file=sys.stderr)
    return 1 if gone else 0


def _print(entries: Iterable[Entry]) -> None:
    """As Pegasus' command does: LFN, PFN, then what is known, a line for each place."""
    for entry in entries:
        for place in entry["pfns"]:
            known = {"site": place.get("site", "local"), **replica_file.metadata(entry)}
            facts = " ".join(f'{key}="{value}"' for key, value in known.items())
            print(f"{entry['lfn']} {place['pfn']} {facts}")


if __name__ == "__main__":
    sys.exit(main())
