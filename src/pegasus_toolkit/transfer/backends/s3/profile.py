"""The credentials and region that the AWS tools keep in files."""

from __future__ import annotations

import configparser
from collections.abc import Mapping
from pathlib import Path

from pegasus_toolkit.credentials import CredentialError

_KEYS = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")


def read(env: Mapping[str, str]) -> dict[str, str]:
    """The keys of ``AWS_PROFILE`` (or ``default``), and its ``region``; empty where there is none.

    Raises ``CredentialError`` for a profile that was asked for and does not exist.
    """
    profile = env.get("AWS_PROFILE") or "default"
    keys = _section(env, "AWS_SHARED_CREDENTIALS_FILE", "credentials", profile)
    config = _section(
        env, "AWS_CONFIG_FILE", "config", profile if profile == "default" else f"profile {profile}"
    )
    if keys is None and config is None and env.get("AWS_PROFILE"):
        raise CredentialError(f"no profile {profile!r} (named by AWS_PROFILE) in the AWS files")
    both = {**(config or {}), **(keys or {})}
    found = {key: both[key] for key in (*_KEYS, "region") if both.get(key)}
    if "aws_secret_access_key" not in found:
        for key in _KEYS:
            found.pop(key, None)
    return found


def place(env: Mapping[str, str]) -> str:
    """The file that the keys stand in."""
    return env.get("AWS_SHARED_CREDENTIALS_FILE") or str(Path(env.get("HOME", ""), ".aws", "credentials"))


def _section(env: Mapping[str, str], variable: str, name: str, section: str) -> dict[str, str] | None:
    home = env.get("HOME", "")
    path = Path(env[variable]) if env.get(variable) else Path(home, ".aws", name)
    if not home and not env.get(variable):
        return None
    parser = configparser.RawConfigParser()
    try:
        with path.open(encoding="utf-8") as file:
            parser.read_file(file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise CredentialError(f"{path} cannot be read: {error.strerror}") from None
    except (configparser.Error, UnicodeDecodeError):
        raise CredentialError(f"{path} is not a file of [sections] with key = value") from None
    return dict(parser.items(section)) if parser.has_section(section) else None
