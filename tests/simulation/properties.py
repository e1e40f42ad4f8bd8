"""What must hold after every run, judged from outside: by the servers' logs and the outcomes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from pegasus_toolkit.transfer.engine.hosts import LENT
from pegasus_toolkit.transfer.errors import (
    Cancelled,
    Corrupted,
    NoSpace,
    NotFound,
    Permanent,
    ResourceLimit,
    Throttled,
    TimedOut,
    TransferError,
    Unreachable,
)
from pegasus_toolkit.transfer.model import Attempt, Location, Mkdir, Operation, Outcome, Remove, Transfer
from tests.simulation.scenario import Scenario
from tests.simulation.storage import Request, Server

EPS = 1e-6
HOSTS_AFFAIR = (Throttled, Unreachable, ResourceLimit)
EVIDENCE = ("get", "copy", "copied", "mkdir", "remove")  # whose begin is that of the attempt
EXEMPT = ("list", "proof", "copied")  # of limits: a listing feeds the others, a proof belongs to its file


def violations(one: Scenario) -> list[str]:
    """A line for everything that does not hold."""
    found: list[str] = []
    for rule in (settled, limits, pauses, failover, exit_code, published, served, cancelled, phases):
        found += [f"{rule.__name__}: {what}" for what in rule(one)]
    return found


def settled(one: Scenario) -> Iterator[str]:
    """Every operation is settled exactly once, and the summary counts them."""
    count = Counter(o.operation.id for o in one.recorder.outcomes if not o.member)
    for operation in one.operations:
        if count[operation.id] != 1:
            yield f"operation {operation.id} was settled {count[operation.id]} times"
    of_members = Counter(
        (o.operation.id, o.operation.sources[0].path)
        for o in one.recorder.outcomes
        if o.member and isinstance(o.operation, Transfer)
    )
    listings = Counter(  # a directory that was listed twice moved its files twice
        request.path for server in one.servers.values() for request in server.log if request.verb == "list"
    )
    for (id_, path), times in of_members.items():
        if times > max(1, listings[path.rpartition("/")[0] + "/"]):
            yield f"member {path} of {id_} was settled {times} times"
    summary = one.summary
    assert summary is not None
    states = Counter(o.status for o in one.recorder.outcomes if not o.member)
    told = {"done": summary.done, "failed": summary.failed, "cancelled": summary.cancelled}
    if any(states[name] != number for name, number in told.items()):
        yield f"the summary says {told}, the outcomes {dict(states)}"


def _at_once(log: list[Request]) -> int:
    """The most requests that were under way at the same time."""
    steps = []
    for request in log:
        if request.verb not in EXEMPT:
            end = request.end if request.end >= 0 else float("inf")
            steps += [(request.begin, 1), (end, -1)]
    most = now = 0
    for _, step in sorted(steps):
        now += step
        most = max(most, now)
    return most


def _within(operation: Operation, name: str) -> bool:
    """Whether it may be read from and written to the same host."""
    if not isinstance(operation, Transfer):
        return False
    sides = (operation.sources, operation.destinations)
    return all(any(place.endpoint.host == name for place in side) for side in sides)


def _silent(one: Scenario) -> bool:
    """Whether a worker may have been silent for so long that it lent its slots.

    Also in two requests, where a relay's reading half failed and the writing half was still to hear of it.
    """
    since: dict[int, Request] = {}  # by operation
    for request in sorted((r for s in one.servers.values() for r in s.log), key=lambda r: r.begin):
        before = since.get(request.operation)
        follows = before is not None and before.error is not None and abs(before.end - request.begin) < EPS
        begin = before.begin if before is not None and follows else request.begin
        if request.end < 0 or request.end - begin > 1.9:
            return True
        since[request.operation] = request
    return False


def limits(one: Scenario) -> Iterator[str]:
    """Files in flight: at each host, overall, and overall with what silent workers lend."""
    options = one.options
    per_host = options.per_host or options.concurrency
    for server in one.servers.values():
        if server.deaf:
            continue  # a thread that does not come back is left behind, with its connection
        within = any(_within(o, server.name) for o in one.operations)
        allowed = max(per_host, 2 if within else 1) * (LENT if not options.per_host and _silent(one) else 1)
        if (most := _at_once(server.log)) > allowed:
            yield f"{most} requests at once at {server.name}, {allowed} allowed"
    for verbs in (("get", "copy", "mkdir", "remove"), ("put",)):  # a relay is one of each
        log = [r for s in one.servers.values() for r in s.log if r.verb in verbs and not s.deaf]
        allowed = options.concurrency * (LENT if _silent(one) else 1)
        if (most := _at_once(log)) > allowed:
            yield f"{most} files at once, {allowed} allowed"


def pauses(one: Scenario) -> Iterator[str]:
    """After a host throttled or refused, nothing begins there for a while, nor before it said.

    What is cleaned up (no operation's own) may be removed at once.
    """
    first = one.options.first_delay
    for server in one.servers.values():
        paused_at, until = float("-inf"), float("-inf")
        perhaps_at = float(
            "-inf"
        )  # of a pause that others may have caused: what was under way then tells no news
        begins = sorted(
            (r.begin, i)
            for i, r in enumerate(server.log)
            if r.verb != "proof" and (r.verb, r.operation) != ("remove", -1)
        )
        ends = sorted(
            (r.end, i)
            for i, r in enumerate(server.log)
            if r.end >= 0
            and isinstance(r.error, (Throttled, Unreachable))
            and r.error.host == server.name
            and r.verb != "proof"
        )
        at = 0
        for end, index in ends:
            while at < len(begins) and begins[at][0] <= end + EPS:
                if begins[at][0] > paused_at + EPS and begins[at][0] < until - EPS:
                    yield f"{server.log[begins[at][1]]} began in the pause of {paused_at:.2f} to {until:.2f}"
                at += 1
            request = server.log[index]
            asks = request.error.retry_after or 0.0 if isinstance(request.error, Throttled) else 0.0
            until = max(until, end + asks)
            news = request.begin >= perhaps_at
            perhaps_at = end if news else perhaps_at
            evidence = (
                news
                and request.begin >= paused_at
                and request.verb
                in (
                    "get",
                    "copy",
                    "copied",
                    "mkdir",
                    "remove",
                )
            )
            if evidence or request.verb == "list":
                paused_at, until = end, max(until, end + first)
        for begin, index in begins[at:]:
            if begin > paused_at + EPS and begin < until - EPS:
                yield f"{server.log[index]} began in the pause from {paused_at:.2f} to {until:.2f}"


# -- one operation ------------------------------------------------------------------------------------

Pair = tuple[int, int]


def _side(attempt: Attempt, error: TransferError) -> str:
    """Which end an attempt really failed at."""
    source = attempt.source.endpoint.host if attempt.source is not None else ""
    target = attempt.destination.endpoint.host
    if isinstance(error, NoSpace):
        return "destination"
    if isinstance(error, (Corrupted, NotFound)) and error.side != "destination":
        return "source"
    if error.host and error.host == source != target:
        return "source"
    if error.host and error.host == target != source:
        return "destination"
    return error.side


def failover(one: Scenario) -> Iterator[str]:
    """Sources and destinations in their order, as often as allowed, after the back-off."""
    for outcome in one.recorder.outcomes:
        for what in _Walk(one, outcome).problems():
            yield f"operation {outcome.operation.id}: {what}"


class _Walk:
    """Follows the attempts of one operation beside a model of what may come next."""

    def __init__(self, one: Scenario, outcome: Outcome) -> None:
        self.one = one
        self.outcome = outcome
        operation = outcome.operation
        self.sources: tuple[Location | None, ...] = (None,)
        self.destinations: tuple[Location, ...] = ()
        if isinstance(operation, Transfer):
            self.sources, self.destinations = operation.sources, operation.destinations
        elif isinstance(operation, (Mkdir, Remove)):
            self.destinations = (operation.target,)
        self.pairs = [(s, d) for d in range(len(self.destinations)) for s in range(len(self.sources))]
        self.dead: set[Pair] = set()
        self.doubtful: set[Pair] = set()  # the host may have been given up
        self.final: dict[Pair, bool] = {}  # whether its last word was a permanent one
        self.count: Counter[Pair] = Counter()
        self.round = 1

    def problems(self) -> Iterator[str]:
        attempts = self.outcome.attempts
        at, counted, last_end = -1, False, 0.0
        for number, attempt in enumerate(attempts):
            if attempt.route == "directory" or isinstance(attempt.error, Cancelled):
                return
            pair = self.pair(attempt)
            allowed = [pair] if number == 0 else self.allowed(at)
            if number == 0 and self.pairs.index(pair) != 0:
                yield f"begins with pair {pair}"
            if pair not in allowed:
                yield f"attempt {number + 1} at {pair}, expected one of {allowed}"
                return
            position = self.pairs.index(pair)
            if number and position <= at:
                waited = attempt.started - last_end
                if counted:
                    due = 0.5 * self.one.options.first_delay * 2 ** (self.round - 1)
                    if waited < min(30.0, due) - EPS and self.one.cancel_at is None:
                        yield f"round {self.round + 1} after {waited:.2f} s, {due:.2f} expected"
                    self.round, counted = self.round + 1, False
            at = position
            last_end = attempt.started + attempt.seconds
            if attempt.error is not None:
                counted = self.note(pair, attempt, attempt.error) or counted
        yield from self.at_the_end()

    def pair(self, attempt: Attempt) -> Pair:
        return self.sources.index(attempt.source), self.destinations.index(attempt.destination)

    def allowed(self, at: int) -> list[Pair]:
        """What may come next: those in doubt, and the first that is surely alive."""
        found = []
        for step in range(1, len(self.pairs) + 1):
            pair = self.pairs[(at + step) % len(self.pairs)]
            if pair in self.dead:
                continue
            found.append(pair)
            if pair not in self.doubtful:
                break
        return found

    def note(self, pair: Pair, attempt: Attempt, error: TransferError) -> bool:
        """Whether it surely used up an attempt."""
        if isinstance(error, (Permanent, NoSpace)):
            side = _side(attempt, error)
            for other in self.pairs:
                same = {"source": other[0] == pair[0], "destination": other[1] == pair[1]}
                if same.get(side, other == pair):
                    self.dead.add(other)
                    self.final[other] = isinstance(error, Permanent)
            return False
        self.final[pair] = False
        if isinstance(error, (*HOSTS_AFFAIR, TimedOut)):
            self.doubtful.add(pair)
        if isinstance(error, HOSTS_AFFAIR):
            return False
        self.count[pair] += 1
        if self.count[pair] >= self.one.options.attempts:
            self.dead.add(pair)
        return True

    def at_the_end(self) -> Iterator[str]:
        outcome, attempts = self.outcome, self.outcome.attempts
        error = outcome.error
        if outcome.status != "failed" or error is None or not attempts:
            return
        alive = [pair for pair in self.pairs if pair not in self.dead and pair not in self.doubtful]
        if alive and self.one.cancel_at is None:
            yield f"failed, though {alive} could still be tried: {error}"
        permanent = all(self.final.get(pair, False) for pair in self.pairs)
        if (error.exit_code == 2) != permanent:
            yield f"ends with exit code {error.exit_code}: {error}; permanent: {permanent}"
        if self.one.options.attempts > 1 and self.one.cancel_at is None:
            yield from self.patience()
            yield from self.outlasted()

    def patience(self) -> Iterator[str]:
        """A host that did something in the last minute is not given up for throttling or absence."""
        for pair in self.doubtful - self.dead:
            end = max(a.started + a.seconds for a in self.outcome.attempts if self.pair(a) == pair)
            if len(self.outcome.attempts) > 40:
                continue  # borne for so long that it counts
            places = [self.sources[pair[0]], self.destinations[pair[1]]]
            names = [p.endpoint.host for p in places if p is not None and p.scheme == "remote"]
            patient = min(_idle_since(self.one.servers[name], end) for name in names)
            if end - patient > self.one.options.patience - 1:
                continue
            yield f"pair {pair} was given up after {end - patient:.1f} s, the last at {names}"

    def outlasted(self) -> Iterator[str]:
        """Where a server gave nothing all the time, it had a minute for its restart."""
        attempts = [a for a in self.outcome.attempts]
        bare = all(a.error is not None and a.error.kind == "server fault" and not a.bytes for a in attempts)
        if bare and len(self.pairs) == 1 and len(attempts) > 1:
            span = attempts[-1].started - attempts[0].started - attempts[0].seconds
            if span < self.one.options.patience - EPS:
                yield f"given up after {span:.1f} s"


def _idle_since(server: Server, end: float) -> float:
    """When the server began to do nothing for us: its last success, else its first trouble."""
    good = [r.end for r in server.log if r.error is None and 0 <= r.end <= end and r.verb != "list"]
    bad = [r.begin for r in server.log if r.error is not None and r.begin >= max(good, default=0.0)]
    return min([b for b in bad if b <= end], default=end)


def exit_code(one: Scenario) -> Iterator[str]:
    """0 all done, 2 something failed for good, 1 else: by what the outcomes say."""
    assert one.summary is not None
    codes = [o.error.exit_code for o in one.recorder.outcomes if not o.member and o.error is not None]
    codes.append(1 if any(o.status == "cancelled" for o in one.recorder.outcomes) else 0)
    told = one.summary.exit_code
    if told != max(codes) and not (one.cancel_at is not None and told == max(1, *codes)):
        yield f"{told}, expected {max(codes)}"


def _kept(one: Scenario, place: Location) -> bool:
    """Whether the server would not let it be removed."""
    log = one.servers[place.endpoint.host].log if place.scheme == "remote" else []
    return any(r.verb == "remove" and r.path == place.path and r.error is not None for r in log)


def published(one: Scenario) -> Iterator[str]:
    """Nothing wrong was ever published; what is done stands there; old content survives a failure."""
    for server in one.servers.values():
        yield from (f"published wrong: {what}" for what in server.wrong)
    memory = one.memory  # type: ignore[attr-defined]
    for outcome in one.recorder.outcomes:
        operation = outcome.operation
        if not isinstance(operation, Transfer):
            continue
        source = operation.sources[0]
        files = memory if source.scheme == "memory" else one.servers[source.endpoint.host].files
        right = files.get(source.path)
        for place in operation.destinations:
            store = memory if place.scheme == "memory" else one.servers[place.endpoint.host].files
            stands = store.get(place.path)
            last = outcome.attempts[-1].destination if outcome.attempts else None
            done = outcome.status == "done" and place == last and not source.path.endswith("/")
            if done and stands != right:
                yield f"operation {operation.id} is done, but {place.url} holds {stands!r}"
            old = one.old.get(f"{place.endpoint.host}{place.path}")
            if stands not in (None, right, old) and not place.path.endswith("/") and not _kept(one, place):
                yield f"{place.url} holds what nobody asked for: {stands!r}"
            if outcome.status == "failed" and old is not None and stands is None:
                removed = operation.verify_checksum_remote
                if not removed:
                    yield f"the old content of {place.url} is gone"


def _hosts(operation: Operation) -> set[str]:
    places: tuple[Location, ...] = (operation.target,) if not isinstance(operation, Transfer) else ()
    if isinstance(operation, Transfer):
        places = (*operation.sources, *operation.destinations)
    return {place.endpoint.host for place in places if place.scheme == "remote"}


def _hosts(operation: Operation) -> set[str]:
    places: tuple[Location, ...] = (operation.target,) if not isinstance(operation, Transfer) else ()
    if isinstance(operation, Transfer):
        places = (*operation.sources, *operation.destinations)
    return {place.endpoint.host for place in places if place.scheme == "remote"}


def served(one: Scenario) -> Iterator[str]:
    """What concerns only healthy servers is over soon, whatever the others do."""
    if one.cancel_at is not None or one.profile != "hanging":
        return
    ill = {name for name, server in one.servers.items() if server.troubles}
    if _at_once([r for name in ill for r in one.servers[name].log]) >= (LENT - 1) * one.options.concurrency:
        return  # so many slots are lent, and no more
    if one.options.per_host:  # a relay between one of those and another holds what is allowed there
        ill |= {name for o in one.operations if _hosts(o) & ill for name in _hosts(o)}
    well = [server for name, server in one.servers.items() if name not in ill]
    bound = 25.0 + sum(3 * server.latency * (1 + len(server.log)) for server in well)
    made = [at for o in one.operations if isinstance(o, Mkdir) and (at := one.settled_at.get(o.id))]
    after = max([one.began, *made])  # directories come first
    for operation in one.operations:
        hosts = _hosts(operation)
        if hosts & ill or not isinstance(operation, Transfer):
            continue
        took = one.settled_at.get(operation.id, float("inf")) - after
        if took > bound:
            yield f"operation {operation.id} on {sorted(hosts)} took {took:.1f} s, not {bound:.1f}"


def cancelled(one: Scenario) -> Iterator[str]:
    """After the word to stop nothing begins, and the run is over within seconds."""
    if one.cancel_at is None or one.ended <= one.cancel_at:
        return
    if one.ended > one.cancel_at + 5.0:
        yield f"the run went on for {one.ended - one.cancel_at:.1f} s"
    for server in one.servers.values():
        for request in server.log:
            cleanup = request.verb == "proof" or (request.verb == "remove" and request.path[:2] == "/g")
            if request.begin > one.cancel_at + 0.6 and not cleanup:
                yield f"{request} began {request.begin - one.cancel_at:.2f} s after the word to stop"


def phases(one: Scenario) -> Iterator[str]:
    """Directories are made first, and nothing is removed before all is moved."""
    log = [r for s in one.servers.values() for r in s.log if not s.deaf]
    moved = [r for r in log if r.verb in ("get", "put", "copy")]
    made = max((r.end for r in log if r.verb == "mkdir" and r.operation == -1), default=0.0)
    gone = min((r.begin for r in log if r.verb == "remove"), default=float("inf"))
    proofs = any(isinstance(o, Transfer) and o.verify_checksum_remote for o in one.operations)
    directories = any(isinstance(o, Transfer) and o.sources[0].path.endswith("/") for o in one.operations)
    if moved and made > min(r.begin for r in moved) + EPS and not directories:
        yield f"a directory was made at {made:.2f}, after the first file"
    if moved and gone < max(r.end for r in moved) - EPS and not proofs:
        yield f"something was removed at {gone:.2f}, before the last file"
