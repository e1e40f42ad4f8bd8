"""URLs and texts that may be printed: passwords, tokens and signatures taken out.

Everything that leaves the process (log, report, statistics) passes through here. What is hidden is
replaced by ``***``, so that a reader sees that something was there.
"""

from __future__ import annotations

import re

from pegasus_toolkit.schemes import SCHEMES

HIDDEN = "***"

# Patterns are kept as text: most runs move no secret past here, and compiling them takes 1 ms of start-up.
# A parameter whose name holds one of these carries a secret or a signature.
_NAMES = r"(?i)sig|token|secret|pass|pwd|auth|cred|key|jwt|sas|hmac|session|ticket|code|policy|cert"
# A long run of letters and digits under any other name may well be one.
_OPAQUE = r"(?i)eyJ.*|(?=[^a-z]*[a-z])(?=[^0-9]*[0-9])[a-z0-9_+/=%~-]{24,}"
_URL = r"(?i)[a-z][a-z0-9+.-]*://[^\s\"'<>]+"
_PARAMETER = r"(?i)([?&#;][\w.~%-]*(?:" + _NAMES[4:] + r")[\w.~%-]*=)[^&#;\s\"'<>]+"
_BEARER = r"(?i)\b(bearer|basic)[ :=]+[a-z0-9._~+/=-]{8,}"


def url(text: str) -> str:
    """``text`` without password, token or signature. Paths and local files come back unchanged."""
    if "@" not in text and "?" not in text and "#" not in text:
        return text
    scheme, found, rest = text.partition("://")
    known = SCHEMES.get(scheme.lower())
    if not found or (known is not None and not known.remote):  # "?" and "@" are letters of a name there
        return text
    end = re.search(r"[/?#]", rest)
    cut = end.start() if end else len(rest)
    if "@" in rest[cut:] and re.search(r":[0-9]*[^0-9\]]", rest[:cut]):
        cut = rest.rindex("@")  # a password with an unescaped "/", "?" or "#" in it
        cut += len(re.split(r"[/?#]", rest[cut:])[0])
    return f"{scheme}://{_authority(rest[:cut])}{_parameters(rest[cut:])}"


def hidden(text: str) -> list[str]:
    """What :func:`url` hides of a URL: a server may repeat it in an answer of its own."""
    if "@" not in text and "?" not in text and "#" not in text:
        return []
    pieces = url(text).split(HIDDEN)
    found, at = [], len(pieces[0])
    for piece in pieces[1:]:
        end = text.index(piece, at) if piece else len(text)
        found.append(text[at:end])
        at = end + len(piece)
    return found


def path(text: str) -> str:
    """An URL, or what follows its authority where it is not known whose: parameters are made safe."""
    return url(text) if "://" in text else _parameters(text)


def message(text: str) -> str:
    """``text`` with every URL, parameter, and bearer or basic credential in it made safe."""
    if "=" in text:
        text = re.sub(_PARAMETER, rf"\1{HIDDEN}", text)
    if "://" in text:
        text = re.sub(_URL, lambda found: url(found.group()), text)
    lower = text.lower()
    if "bearer" in lower or "basic" in lower:
        text = re.sub(_BEARER, rf"\1 {HIDDEN}", text)
    return text


def _authority(text: str) -> str:
    user, at, host = text.rpartition("@")
    if not at:
        return text
    name, colon, _ = user.partition(":")
    if re.fullmatch(_OPAQUE, name):
        name = HIDDEN
    return f"{name}:{HIDDEN}@{host}" if colon else f"{name}@{host}"


def _parameters(text: str) -> str:
    path, mark, query = _cut(text)
    if not mark:
        return text
    return path + mark + "".join(_parameter(part) for part in re.split(r"([&;#?])", query))


def _cut(text: str) -> tuple[str, str, str]:
    found = re.search(r"[?#]", text)
    if found is None:
        return text, "", ""
    return text[: found.start()], found.group(), text[found.end() :]


def _parameter(part: str) -> str:
    name, equals, value = part.partition("=")
    if not equals:
        return HIDDEN if re.fullmatch(_OPAQUE, name) else part
    if value and (re.search(_NAMES, name) or re.fullmatch(_OPAQUE, value)):
        return f"{name}={HIDDEN}"
    return part
