"""``pegasus-files ls``, ``cat``, ``du``, ``check``: what looks at places and changes nothing."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from contextlib import closing

from pegasus_toolkit.cli import check as checks
from pegasus_toolkit.cli.console import Console, visible
from pegasus_toolkit.credentials import CredentialError, Credentials
from pegasus_toolkit.files import filters, listing, looking, verifying
from pegasus_toolkit.files.copying import Choice
from pegasus_toolkit.files.listing import Item
from pegasus_toolkit.files.places import expanded, shown
from pegasus_toolkit.transfer import units
from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.engine.pool import Pool
from pegasus_toolkit.transfer.engine.preflight import Use, examine
from pegasus_toolkit.transfer.errors import TransferError
from pegasus_toolkit.transfer.interface import Settings


def _verify(got: argparse.Namespace, pool: Pool, console: Console) -> int:
    choice = _choice(got)
    if not got.against:
        first, second = got.places
        verdict = verifying.places(first, second, pool, choice, got.one_way)
    elif verifying.is_receipt(got.against):
        verdict = verifying.against_receipt(got.against, pool)
    else:
        verdict = verifying.against_manifest(
            got.against, (got.places or ["."])[0], pool, choice, one_way=got.one_way, algorithm=got.algorithm
        )
    for name, why in verdict.skipped:
        console.warning(f"{name}: left out: {why}")
    for one in verdict.differences:
        line = json.dumps(one._asdict()) if got.json else f"{one.kind:<10}  {visible(one.name)}: {one.detail}"
        _print(pool.settings.credentials.mask(line))
    by = {"server": "by the server's digest", "read": "by reading"}
    how = ", ".join(f"{count} {by[key]}" for key, count in sorted(verdict.by.items()))
    bad = len(verdict.differences)
    text = f"{verdict.files} {units.plural(verdict.files, 'file')} compared" + (f" ({how})" if how else "")
    console.info(f"{text}; {bad or 'no'} {units.plural(bad, 'difference')}")
    return min(bad, 1)


def execute(got: argparse.Namespace, environ: Mapping[str, str], console: Console) -> int:
    """The exit code: 0; as the error says that kept something from being told."""
    try:
        credentials = Credentials.load(environ)
    except CredentialError as error:
        console.critical(str(error))
        return 2
    console.mask = credentials.mask
    connections = getattr(got, "threads", 0) or 8
    settings = Settings(
        credentials=credentials, environ=dict(environ), warn=console.warning, connections=connections
    )
    code = 0
    with closing(Pool(settings, open_backend)) as pool:
        if got.verb == "verify":
            try:
                return _verify(got, pool, console)
            except TransferError as error:
                console.error(str(error))
                return error.exit_code
        verbs = {"ls": _list, "cat": _cat, "du": _usage, "check": _check}
        for text in got.places or ["."]:
            try:
                code = max(code, verbs[got.verb](text, got, pool, console))
            except TransferError as error:
                console.error(str(error))
                code = max(code, error.exit_code)
            except BrokenPipeError:  # the reader has seen enough
                break
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return code
    return code


def _choice(got: argparse.Namespace) -> Choice:
    return Choice(filters.read(got.choice or ()), got.links or "inside")


def _list(text: str, got: argparse.Namespace, pool: Pool, console: Console) -> int:
    choice = _choice(got)
    for one in list(expanded(text, pool)):
        head = shown(one.place).rstrip("/") if len(got.places) > 1 else one.name if one.matched else ""
        for item in looking.listed(one.place, pool, choice, got.recursive):
            named = f"{head}/{item.name}" if one.directory else head
            _print(_line(item._replace(name=named) if head else item, got))
    return 0


def _line(item: Item, got: argparse.Namespace) -> str:
    if got.json:
        told = {"name": item.name, "directory": item.directory, "size": item.size, "modified": item.modified}
        if told["modified"] is not None:
            told["modified"] = (item.modified or 0) / 1e9
        if item.link:
            told["link"] = item.link
        return json.dumps(told)
    name = visible(item.name) + ("/" if item.directory else "")
    if not got.long:
        return name
    when = "-"
    if item.modified is not None:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(item.modified // 10**9))
    return f"{'-' if item.size is None else item.size:>14}  {when:<19}  {name}"


def _print(text: str) -> None:
    print(text.encode(errors="backslashreplace").decode())


def _cat(text: str, got: argparse.Namespace, pool: Pool, console: Console) -> int:
    sys.stdout.flush()
    for one in expanded(text, pool):
        looking.stream(one.place, pool, sys.stdout.buffer)
    return 0


def _usage(text: str, got: argparse.Namespace, pool: Pool, console: Console) -> int:
    choice = _choice(got)
    for one in expanded(text, pool):
        files, size = 1, one.entry.size or 0
        if one.directory:
            tree = listing.read(one.place, pool, choice.filters, choice.links)
            files = sum(not item.directory for item in tree.items.values())
            size = tree.size
        if got.json:
            _print(json.dumps({"place": shown(one.place), "files": files, "bytes": size}))
        else:
            count = f"{files} {units.plural(files, 'file')}"
            _print(f"{units.size(size):>10}  {count:>14}  {visible(shown(one.place))}")
    return 0


def _check(text: str, got: argparse.Namespace, pool: Pool, console: Console) -> int:
    from pegasus_toolkit.files.places import place

    where = place(text)
    finding = examine(Use(where.endpoint, source=where.path, target=where.path), pool)
    told = [json.dumps(checks.told(finding))] if got.json else checks.lines(finding, counted=False)
    for line in told:
        _print(pool.settings.credentials.mask(line))
    return 0 if finding.error is None else finding.error.exit_code
