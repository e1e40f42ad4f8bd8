"""What a plugin finds around it: the job's sandbox, environment and credentials.

HTCondor gives a plugin its own daemon's environment, not the job's. What the job says of credentials
and limits stands in the job's ad, and counts; files are named as the job sees them, in its sandbox.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pegasus_toolkit.cli import plugin_ads
from pegasus_toolkit.credentials import CredentialError, Credentials
from pegasus_toolkit.credentials.types import HttpCredential

_FILES = (
    "PEGASUS_CREDENTIALS",
    "X509_USER_PROXY",
    "X509_USER_CERT",
    "X509_USER_KEY",
    "X509_CERT_DIR",
    "SSH_PRIVATE_KEY",
    "BEARER_TOKEN_FILE",
    "S3CFG",
    "BOTO_CONFIG",
    "GOOGLE_PKCS12",
    "IRODS_ENVIRONMENT_FILE",
)
_VALUES = ("BEARER_TOKEN", "AWS_", "OSG_SQUID_LOCATION", "PEGASUS_TRANSFER_")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy")


class PluginContext(NamedTuple):
    """``sandbox``: where relative names begin; ``environ``: the plugin's with what the job adds."""

    sandbox: str
    environ: Mapping[str, str]


def look(infile: str, environ: Mapping[str, str]) -> PluginContext:
    """The world of a plugin that is told what to do by ``infile``, which is in the sandbox."""
    ad = environ.get("_CONDOR_JOB_AD", "")
    sandbox = str(Path(ad or infile).absolute().parent)
    found = dict(environ)
    home = found.get("HOME", "")
    if home and not _mine(home):  # a daemon's: nothing of the job's owner is in there
        del found["HOME"]
    for name, value in _of_the_job(ad).items():
        if name.startswith(_FILES):
            found[name] = str(Path(sandbox, value))
        elif name.startswith(_VALUES) or name.lower() in _PROXIES:
            found[name] = value
    proxy = Path(sandbox, found.get("X509_USER_PROXY", ""))
    if found.get("X509_USER_PROXY"):
        found["X509_USER_PROXY"] = str(proxy)
    return PluginContext(sandbox, found)


def _mine(directory: str) -> bool:
    try:
        return Path(directory).stat().st_uid == os.geteuid()
    except OSError:
        return False


def _of_the_job(ad: str) -> dict[str, str]:
    """The job's environment, as its ad has it; nothing where there is no ad."""
    try:
        attributes = plugin_ads.read_lines(Path(ad).read_bytes()) if ad else {}
    except OSError:
        return {}
    text = attributes.get("environment")
    return dict(_variables(text)) if isinstance(text, str) else {}


def _variables(text: str) -> list[tuple[str, str]]:
    """HTCondor's new syntax: words at spaces, single quotes around some, doubled within."""
    found, word, quoted, at = [], "", False, 0
    while at <= len(text):
        character = text[at : at + 1]
        if character == "'" and quoted and text[at + 1 : at + 2] == "'":
            word, at = word + "'", at + 1
        elif character == "'":
            quoted = not quoted
        elif (character.isspace() and not quoted) or not character:
            name, equals, value = word.partition("=")
            if equals:
                found.append((name, value))
            word = ""
        else:
            word += character
        at += 1
    return found


class Granted(Credentials):
    """Credentials that also know the tokens that the job asked for by ``NAME+https://host/...``.

    HTCondor keeps them in ``$_CONDOR_CREDS/NAME.use``. The job itself names token and host together,
    so nothing else has to name the host; a section of the credentials file still goes before it.
    """

    __slots__ = ("_condor", "_names")

    def __init__(self, environ: Mapping[str, str], names: frozenset[str]) -> None:
        """``names``: of the tokens, which stand as site labels of their URLs."""
        super().__init__(environ)
        self._condor = environ.get("_CONDOR_CREDS", "")
        self._names = names

    def http(self, scheme: str, authority: str, site: str = "") -> HttpCredential:
        """As :meth:`Credentials.http`, with the token that was asked for where no section has the host."""
        found = super().http(scheme, authority, site)
        if site not in self._names or scheme not in ("https", "davs", "webdavs") or found.section:
            return found
        from pegasus_toolkit.credentials import tokens

        token = None
        if self._condor and Path(self._condor, f"{site}.use").is_file():
            token = tokens.discover({"_CONDOR_CREDS": self._condor}, site, "", needed=True)
        if token is None:
            raise CredentialError(
                f"the URL asks for the token {site!r}, but the job has no such one",
                f"name it in use_oauth_services = {site}",
            )
        return found._replace(token=token.secret)
