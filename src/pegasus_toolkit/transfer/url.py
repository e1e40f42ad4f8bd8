"""URLs of a specification: from text to a :class:`Location`, and back.

A URL is what begins ``scheme://`` or, for local files, ``file:``, ``symlink:`` or ``moveto:``. All
else is the path of a local file, whatever letters it has. In a local URL ``%20`` is a space, as in
upstream's command; in a bare path it is three letters. In both ``$NAME`` and ``${NAME}`` are variables
of the environment, whose values are taken as they are, and ``$$`` is a dollar. Remote URLs are never
expanded or decoded.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from functools import lru_cache

from pegasus_toolkit.schemes import LOCAL, SCHEMES
from pegasus_toolkit.transfer import redact
from pegasus_toolkit.transfer.errors import BadSpecification
from pegasus_toolkit.transfer.interface import Endpoint
from pegasus_toolkit.transfer.model import Location

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(//)?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_SPACE = re.compile(r"\s")
_HOST = re.compile(r"[^\s\\#:\[\]]+(:[0-9]*)?|\[[0-9A-Za-z:.%]+\](:[0-9]*)?")
_HALF_A_URL = re.compile(r"[^/$]{2,}:/")
_SLASHES = re.compile("//+")
_VARIABLE = re.compile(r"\$(?:(\$)|\{([^}]*)(\}?)|([A-Za-z_][A-Za-z0-9_]*))")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def parse(url: str, site: str, environ: Mapping[str, str], priority: int = 0, type: str = "") -> Location:
    """The place that ``url`` names at ``site``. Raises ``BadSpecification``, with no secret in it.

    Parsing the ``url`` of the result again gives the same place, whatever the environment is then.
    """
    if "$" not in url and url.isprintable():  # nearly all there are
        if url[:1] == "/":
            return Location(url, endpoint("file", "", site), url, priority, type)
        if url[:8] == "file:///" and "%" not in url:
            return Location(url, endpoint("file", "", site), url[7:], priority, type)
    elif _CONTROL.search(url):
        raise _bad("a control character in a URL", url)
    found = _SCHEME.match(url)
    scheme = found[1].lower() if found else ""
    if found and scheme in LOCAL:
        path = _local_path(url[len(scheme) + 1 :], url)
    elif found and found[2]:
        authority, path = _remote(scheme, url[found.end() :], url)
        return Location(url, endpoint(scheme, authority, site), path, priority, type)
    else:
        if _HALF_A_URL.match(url):
            raise _bad("neither a URL nor a path", url, hint="write scheme://..., or ./name for a local path")
        scheme, path = "file", url
    decode = str if path is url else _decoded
    if "$" in path:
        path = expand(path, environ, url, decode)
        url = from_path(path, scheme)
    else:
        path = decode(path)
    if not path:
        raise _bad("an empty path", url)
    return Location(url, endpoint(scheme, "", site), path, priority, type)


def control(text: str) -> bool:
    """Whether it holds a control character, or half a surrogate pair, which is no text at all."""
    return not text.isprintable() and _CONTROL.search(text) is not None


@lru_cache(maxsize=4096)
def endpoint(scheme: str, authority: str, site: str) -> Endpoint:
    """One shared object for each endpoint, so that a million locations stay small."""
    if control(site):
        raise BadSpecification("a control character in a site label")
    return Endpoint(scheme, authority, site)


def expand(path: str, environ: Mapping[str, str], url: str = "", decode: Callable[[str], str] = str) -> str:
    """``path`` with its variables replaced, once, and what is between them decoded; ``url`` is for the error.

    Raises ``BadSpecification`` for a variable that is not set or empty: a path with a part missing
    is another path. A ``$`` before anything but a name, ``{`` or ``$`` is a letter like any other.
    """

    def value(found: re.Match[str]) -> str:
        dollar, braced, closed, bare = found.groups()
        if dollar:
            return "$"
        name = bare if braced is None else braced
        if braced is not None and not (closed and _NAME.fullmatch(name)):
            raise _bad(f"{found[0]!r} is not a variable", url or path, hint="write $$ for a literal $")
        if not environ.get(name):
            hint = f"write $${name} for a literal $"
            raise _bad(f"the variable ${name} is not set or empty", url or path, hint=hint)
        return environ[name]

    expanded, at = "", 0
    for found in _VARIABLE.finditer(path):
        expanded += decode(path[at : found.start()]) + value(found)
        at = found.end()
    expanded += decode(path[at:])
    if control(expanded):
        raise _bad("a control character in a variable's value", url or path)
    return expanded


def from_path(path: str, scheme: str = "file") -> str:
    """The URL of a local path, which may hold any letter; ``parse`` gives the path back."""
    return literal(f"{scheme}:{'//' if path[:1] == '/' else ''}{path}")


def literal(url: str) -> str:
    """A local URL in which every letter stood for itself, as a specification has it."""
    return url.replace("%", "%25").replace("$", "$$")


def plain(url: str) -> str:
    """Takes back what :func:`literal` did."""
    return url.replace("$$", "$").replace("%25", "%")


def meant_literally(location: Location) -> str:
    """What to do about a local file that is missing, where one stands that is called as the URL is spelt."""
    if location.scheme not in LOCAL or "%" not in location.url or location.url == location.path:
        return ""
    spelt = _local_path(location.url.partition(":")[2], location.url)
    if spelt == location.path or not os.path.lexists(spelt):
        return ""
    return f"{spelt} is there: in a file: URL write %25 for a percent sign, or give the bare path"


def _decoded(path: str) -> str:
    if "%" not in path:
        return path
    from urllib.parse import unquote

    found = unquote(path, errors="surrogateescape")
    if control(found):
        raise _bad("a control character, or what is not UTF-8, in a URL", path)
    return found


def text(location: Location) -> str:
    """What to write into a specification so that ``parse`` gives this location back."""
    if location.scheme in LOCAL and "$" in location.path:
        return from_path(location.path, location.scheme)
    return location.url


def parted(location: Location) -> tuple[str, str]:
    """The path, and the query with its "?". Where "?" is a letter like any other, all is path."""
    known = SCHEMES.get(location.scheme)
    if known is None or not known.query:
        return location.path, ""
    path, mark, query = location.path.partition("?")
    return path, mark + query


def folder(location: Location) -> tuple[str, str]:
    """The path that all in this directory begins with; and the query that follows each."""
    path, query = parted(location)
    return path.rstrip("/") + "/", query


def identity(location: Location, cwd: str) -> tuple[str, str, str]:
    """Equal for two spellings of one place: scheme ("" for local files), authority, path.

    Local paths are compared as text: ``.`` and doubled slashes are left out, but ``..`` is kept,
    as it may go through a symbolic link. ``cwd``: where relative paths begin.
    """
    scheme, authority, _ = location.endpoint
    path = location.path
    if scheme not in LOCAL:
        user, at, host = authority.rpartition("@")
        return scheme, user + at + host.lower(), path
    if path[0] != "/":
        path = f"{cwd}/{path}"
    if "//" in path or "/." in path or path[-1] == "/":
        path = "/" + "/".join(part for part in path.split("/") if part not in ("", "."))
    return "", "", path


def _local_path(rest: str, url: str) -> str:
    """The path in what follows ``file:``, variables not yet expanded."""
    if not rest.startswith("//"):
        return rest
    rest = rest[2:]
    if rest[:9].lower() == "localhost" and rest[9:10] in ("/", "$", ""):
        return rest[9:]
    host = rest.partition("/")[0]
    if host not in ("", ".", "..") and host[0] != "$":
        hint = "write file:///... for an absolute path, file:... for a relative one"
        raise _bad(f"a file on another host, {host!r}", url, hint=hint)
    return rest


def _remote(scheme: str, rest: str, url: str) -> tuple[str, str]:
    """Authority and path, raw but for doubled slashes."""
    known = SCHEMES.get(scheme)
    if known is not None and known.registry:
        return _image(known.registry, rest)
    if known is not None and known.federation:
        return known.federation, _folded(f"/{rest}")  # what follows "//" is the path already
    if known is not None and known.catalog:
        return _cataloged(known.catalog, rest)
    authority = rest.partition("/")[0].partition("?")[0]
    user, _, host = authority.rpartition("@")
    if ":" in user:
        hint = "put it into credentials.conf, and only the user's name here"
        raise _bad("a password in a URL", f"{scheme}://{user.partition(':')[0]}:***@{host}/...", hint=hint)
    if _SPACE.search(authority):
        raise _bad("a space in a host's name", url)
    if known is not None and known.web and not _HOST.fullmatch(host):
        raise _bad("expected host or host:port after //", url)
    path = rest[len(authority) :]
    # Not for object stores, where "//" names another object, nor for root and srm, where a path begins so.
    return authority, _folded(path) if known is not None and known.folded else path


def _folded(path: str) -> str:
    if "//" not in path:
        return path
    head, mark, query = path.partition("?")
    return _SLASHES.sub("/", head) + mark + query


def _image(usual: str, rest: str) -> tuple[str, str]:
    """Registry and path of a container image: what comes first is a host only where it looks like one."""
    name = rest.lstrip("/")  # upstream's users write docker:///owner/image, too
    first, slash, more = name.partition("/")
    if slash and (first == "localhost" or "." in first or ":" in first):
        return first.lower(), f"/{more}"
    return usual, f"/{name}"


def _cataloged(usual: str, rest: str) -> tuple[str, str]:
    """Storage element and DID (``scope:name``, a name may hold "/"): the former has no colon in it."""
    name = rest.lstrip("/")
    first, slash, more = name.partition("/")
    return (usual, f"/{name}") if ":" in first or not slash else (first, f"/{more}")


def _bad(message: str, url: str, hint: str = "") -> BadSpecification:
    shown = redact.url(url)
    return BadSpecification(message, url=shown if len(shown) <= 300 else f"{shown[:300]}...", hint=hint)
