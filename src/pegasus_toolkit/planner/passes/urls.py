"""What transfers make of URLs."""

from __future__ import annotations

from pegasus_toolkit.transfer import url
from pegasus_toolkit.transfer.errors import BadSpecification


def wrong(text: str) -> str:
    """What is wrong with a URL that names a user, "" for nothing: it may hold no password."""
    if "@" not in text or "://" not in text:
        return ""
    try:
        url.parse(url.literal(text) if text.startswith("file:") else text, "", {})
    except BadSpecification as error:
        return str(error)
    return ""


def host(text: str) -> str:
    """The host that a URL leads to; of an image's name without one, the registry that is meant."""
    try:
        return url.parse(text, "", {}).endpoint.host
    except BadSpecification:
        return ""
