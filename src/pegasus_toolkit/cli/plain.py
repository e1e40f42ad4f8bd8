"""Sources and a destination in plain words: what ``pegasus-transfer`` and ``pegasus-files`` do with them."""

from __future__ import annotations

from pegasus_toolkit.cli.console import Console
from pegasus_toolkit.cli.options import Arguments
from pegasus_toolkit.cli.outputs import Refused
from pegasus_toolkit.files import copying, filters, removing
from pegasus_toolkit.files.copying import Choice, Plan
from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.engine.pool import Pool
from pegasus_toolkit.transfer.errors import TransferError
from pegasus_toolkit.transfer.interface import Settings
from pegasus_toolkit.transfer.units import plural, size

TOLD = 10  # names that are left out have a line each, up to so many


def operations(arguments: Arguments, settings: Settings, console: Console) -> tuple[Plan, Pool]:
    """What is to be done, and what was opened to find that out.

    Raises ``Refused`` for what cannot be meant, or is not there (code 2), or does not answer (code 1).
    """
    pool = Pool(settings, open_backend)
    try:
        plan = _plan(arguments, pool)
    except TransferError as error:
        pool.close()
        raise Refused(settings.credentials.mask(str(error)), error.exit_code) from error
    except BaseException:
        pool.close()
        raise
    for name, why in plan.skipped[:TOLD]:
        console.warning(f"{name}: left out: {why}")
    if len(plan.skipped) > TOLD:
        console.warning(f"{len(plan.skipped) - TOLD} more are left out")
    console.info(_counted(plan))
    return plan, pool


def _counted(plan: Plan) -> str:
    """What is to be done, in a line."""
    _, files, removals = plan.counts
    unknown = f" and {plan.unsized} of unknown size" if plan.unsized else ""
    copied = f"{files} {plural(files, 'file')}, {size(plan.size)}{unknown}, to be copied"
    words = [copied] if files or not removals else []
    words += [f"{removals} to be removed"] if removals else []
    words += [f"{plan.unchanged} are unchanged"] if plan.unchanged else []
    return ", ".join(words)


def _plan(arguments: Arguments, pool: Pool) -> Plan:
    if arguments.verb == "rm":
        return removing.plan(arguments.sources, pool, arguments.recursive, arguments.force)
    if arguments.verb == "sync":
        return _sync(arguments, pool)
    choice = Choice(filters.read(arguments.choice), arguments.links)
    return copying.plan(arguments.sources, arguments.destination, pool, choice)


def _sync(arguments: Arguments, pool: Pool) -> Plan:
    from pegasus_toolkit.files import cache, syncing

    choice = Choice(filters.read(arguments.choice), arguments.links)
    path = cache.usual_path(pool.settings.environ) if arguments.checksum and arguments.cache else ""
    known = cache.Cache(path, pool.settings.warn) if path else None
    how = syncing.Sync(arguments.checksum, arguments.delete, known)
    try:
        return syncing.plan(arguments.sources[0], arguments.destination, pool, choice, how)
    finally:
        if known is not None:
            known.close()


def finish(operations: object, console: Console) -> int:
    """What comes after all was copied: symbolic links. The exit code."""
    links = operations.links if isinstance(operations, Plan) else []
    failed = copying.make_links(links)
    for name, why in failed:
        console.error(f"{name}: the link could not be made: {why}")
    if links:
        console.info(f"{len(links) - len(failed)} {plural(len(links) - len(failed), 'link')} made")
    return 2 if failed else 0
