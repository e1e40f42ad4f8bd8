"""Credentials: each node is given those files that its own URLs need, and no others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from pegasus_toolkit.credentials import proxies
from pegasus_toolkit.planner.catalogs import LOCAL, Pfn
from pegasus_toolkit.planner.model import Credential, MakeDirectory, Move, Node, Problem, Remove
from pegasus_toolkit.planner.passes.plan import Plan
from pegasus_toolkit.planner.passes.urls import host
from pegasus_toolkit.schemes import CREDENTIALS, SCHEMES, Scheme
from pegasus_toolkit.schemes import Credential as Kind

_LISTED = frozenset(scheme for scheme, known in SCHEMES.items() if known.registry or known.federation)
_CATALOGS = {scheme: known.catalog for scheme, known in SCHEMES.items() if known.catalog}
VARIABLES = frozenset(kind.variable for kind in CREDENTIALS.values())


def give_credentials(plan: Plan) -> Plan:
    """``credentials`` for every node; those missing or too open are problems."""
    given = _Given(plan)
    nodes = tuple(given.to(node) for node in plan.nodes)
    environ = plan.settings.environ
    kept = proxies.without_passwords(environ)
    secret = [name for name in proxies.VARIABLES if name in environ and name not in kept]
    told = [f"{name} holds a password, and is not written into submit files" for name in secret]
    return replace(plan, nodes=nodes).wrong(given.problems.values()).warn(told)


class _Given:
    """Each pair of server and site is looked up once."""

    def __init__(self, plan: Plan) -> None:
        self.problems: dict[str, Problem] = {}
        self._plan = plan
        self._known: dict[tuple[str, str, bool], tuple[Credential, ...]] = {}

    def to(self, node: Node) -> Node:
        """The node with its credentials."""
        found: dict[Credential, None] = {}
        remote = node.site != LOCAL
        for base, site in {(_base(pfn.url), pfn.site) for pfn in _places(node)}:
            key = (base, site, remote)
            if key not in self._known:
                self._known[key] = tuple(self._look_up(base, site, remote))
            found.update(dict.fromkeys(self._known[key]))
        if remote:
            self._one_name(found)
        return replace(node, credentials=tuple(sorted(found))) if found else node

    def _one_name(self, found: Iterable[Credential]) -> None:
        """Files arrive under the last part of their paths."""
        paths: dict[str, str] = {}
        for one in found:
            base = one.path.rpartition("/")[2]
            if paths.setdefault(base, one.path) != one.path:
                message = f"{paths[base]} and {one.path} would have one name where a job needs both"
                self.problems.setdefault(message, Problem("credentials", (), message, hint="rename one"))

    def _look_up(self, base: str, site: str, remote: bool) -> Iterator[Credential]:
        scheme = base.partition(":")[0]
        known = SCHEMES.get(scheme, Scheme(""))
        may_do = "config" in known.optional  # a section may say all that the other files would
        apart = known.web or known.registry or known.federation or may_do
        section = apart and self._plan.settings.section(Pfn(site, base))
        for name in known.credentials:
            kind = CREDENTIALS[name]
            if name == "config" and apart and not section:
                continue  # nothing in the file is for that server
            needed = kind.needed and name not in known.optional and not (may_do and section)
            path, named = self._path(kind, site)
            wrong = self._plan.settings.secret(path) if path else "there is none"
            if not wrong:
                yield Credential(f"{kind.variable}_{site.replace('-', '_')}", path)
            elif named or (needed and (remote or name != "ssh")):
                where = f"for {scheme}:// at {site!r}"
                hint = f"name it in {kind.variable}_{site.replace('-', '_')} or {kind.variable}"
                message = f"credential {where}: {wrong}"
                self.problems.setdefault(message, Problem("credentials", (), message, hint=hint))

    def _path(self, kind: Kind, site: str) -> tuple[str, bool]:
        """The file, and whether somebody names it: profiles of the site, of ``local``, in the properties;
        the environment; else the usual place."""
        environ = self._plan.settings.environ
        known = self._plan.catalogs.sites
        profiles = [known[name].profiles for name in (site, LOCAL) if name in known]
        for spaces in (*profiles, self._plan.settings.profiles):
            for space in ("env", "pegasus"):
                if path := spaces.get(space, {}).get(kind.variable):
                    return path, True
        for name in (f"{kind.variable}_{site}", f"{kind.variable}_{site.replace('-', '_')}", kind.variable):
            if path := environ.get(name):
                return path, True
        usual = kind.usual
        for variable in ("HOME", "UID"):
            if f"${variable}" in usual and not environ.get(variable):
                return "", False
            usual = usual.replace(f"${variable}", environ.get(variable, ""))
        return usual, False


def _base(url: str) -> str:
    """``scheme://host``; of a local file the scheme."""
    scheme, _, rest = url.partition("://")
    if scheme in _LISTED:
        return f"{scheme}://{host(url)}"
    return f"{scheme}://{_CATALOGS.get(scheme) or rest.partition('/')[0]}"


def _places(node: Node) -> Iterator[Pfn]:
    for one in node.operations:
        if isinstance(one, Move):
            yield from one.sources
            yield from one.destinations
        else:
            assert isinstance(one, MakeDirectory | Remove)
            yield one.target
    files: Iterable[tuple[Pfn, ...]] = (
        *(one.sources for one in node.inputs),
        *(one.destinations for one in node.outputs),
    )
    for pfns in files:
        yield from pfns
