"""One call of the plugin: all files of it in one run of the engine."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from pegasus_toolkit.cli import plugin_ads, plugin_results
from pegasus_toolkit.cli.plugin_context import Granted, PluginContext, look
from pegasus_toolkit.cli.plugin_results import Names, Wish
from pegasus_toolkit.transfer import url as urls
from pegasus_toolkit.transfer.engine.engine import Engine, Options
from pegasus_toolkit.transfer.engine.retry import patience
from pegasus_toolkit.transfer.errors import BadSpecification, Defect, TransferError
from pegasus_toolkit.transfer.interface import Settings
from pegasus_toolkit.transfer.model import Location, Outcome, Transfer
from pegasus_toolkit.transfer.observer import Progress

THREADS = 8
_TOKEN = re.compile(r"([A-Za-z][A-Za-z0-9._-]*)\+([A-Za-z][A-Za-z0-9.-]*://.*)", re.DOTALL)


class Result(NamedTuple):
    """``ads``: an answer for each file that was asked for, in that order. ``abandoned``: threads hang."""

    ads: list[dict[str, object]]
    abandoned: int

    @property
    def failed(self) -> list[dict[str, object]]:
        """The answers of those that did not succeed."""
        return [ad for ad in self.ads if not ad["TransferSuccess"]]


class _Outcomes:
    """Keeps what became of each file."""

    def __init__(self) -> None:
        self.of: dict[int, Outcome] = {}

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            if not outcome.member:
                self.of[outcome.operation.id] = outcome

    def tick(self, progress: Progress) -> None:
        """Nothing: HTCondor looks at nothing but the end."""


def run(infile: str, upload: bool, environ: Mapping[str, str]) -> Result:
    """Moves what ``infile`` asks for. Raises ``AdError`` or ``OSError`` where that cannot be read."""
    wishes = list(_wishes(plugin_ads.read(Path(infile).read_bytes()), upload))
    world = look(infile, environ)
    os.environ.setdefault("TMPDIR", world.sandbox)  # which counts against what the job was given
    names, answers, operations = Names(), {}, []
    tokens: set[str] = set()
    for id, wish in enumerate(wishes):
        try:
            operations.append(_operation(id, wish, world, tokens))
        except TransferError as error:
            answers[id] = plugin_results.refused(wish, error, names)
    outcomes, abandoned = _moved(operations, world, frozenset(tokens))
    for one in operations:
        outcome = outcomes.of.get(one.id)
        if outcome is None:
            answers[one.id] = plugin_results.refused(wishes[one.id], Defect("no outcome"), names)
        else:
            answers[one.id] = plugin_results.moved(wishes[one.id], outcome, names)
    return Result([answers[id] for id in range(len(wishes))], abandoned)


def _wishes(ads: Sequence[plugin_ads.Ad], upload: bool) -> Sequence[Wish]:
    """Ads without a URL speak of others, or of what this plugin does not know."""
    found = []
    for ad in ads:
        if "url" in ad or "localfilename" in ad:
            url, file = ad.get("url"), ad.get("localfilename")
            if not isinstance(url, str) or not isinstance(file, str):
                raise plugin_ads.AdError("Url and LocalFileName have to be strings")
            found.append(Wish(url, file, upload))
    return found


def _operation(id: int, wish: Wish, world: PluginContext, tokens: set[str]) -> Transfer:
    url, site = wish.url, "local"
    if named := _TOKEN.fullmatch(url):
        site, url = named[1].replace(".", "_"), named[2]  # as HTCondor names the files of tokens
        tokens.add(site)
    remote = urls.parse(url, site, {})
    if not wish.file:
        raise BadSpecification("an empty LocalFileName", url=wish.url)
    local = _local(str(Path(world.sandbox, wish.file)))
    source, destination = (local, remote) if wish.upload else (remote, local)
    return Transfer(id=id, sources=(source,), destinations=(destination,))


def _local(path: str) -> Location:
    return Location(urls.from_path(path), urls.endpoint("file", "", "local"), path)


def _moved(
    operations: Sequence[Transfer], world: PluginContext, tokens: frozenset[str]
) -> tuple[_Outcomes, int]:
    outcomes = _Outcomes()
    if not operations:
        return outcomes, 0
    threads = _threads(world.environ)
    settings = Settings(
        credentials=Granted(world.environ, tokens), environ=dict(world.environ), connections=threads
    )
    engine = Engine(
        Options(concurrency=threads, directory=world.sandbox, patience=patience(world.environ)),
        settings,
        [outcomes],
    )

    def stop(number: int, frame: FrameType | None) -> None:
        engine.cancel(f"{signal.Signals(number).name} received")

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        summary = engine.run(operations)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return outcomes, summary.abandoned


def _threads(environ: Mapping[str, str]) -> int:
    text = environ.get("PEGASUS_TRANSFER_THREADS", "")
    return min(int(text), 1000) if text.isdecimal() and int(text) else THREADS
