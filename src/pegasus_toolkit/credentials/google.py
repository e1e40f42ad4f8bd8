"""Google's credentials: a key file, or what gsutil's configuration says; nothing is sent from here."""

from __future__ import annotations

import configparser
import json
from collections.abc import Mapping
from pathlib import Path

from pegasus_toolkit.credentials.errors import CredentialError
from pegasus_toolkit.credentials.files import check_private, read_private
from pegasus_toolkit.credentials.secret import Secret
from pegasus_toolkit.credentials.section import Section
from pegasus_toolkit.credentials.types import GoogleCredential, NamedFile

KNOWN = ("key_file", "token", "endpoint", "ca_file", "verify", "project", "user_project")
KINDS = frozenset({"service_account", "authorized_user", "external_account"})
USUAL_PASSWORD = "notasecret"  # of every PKCS12 key that Google gave out
WELL_KNOWN = ".config/gcloud/application_default_credentials.json"


def from_section(values: dict[str, Secret], name: str, file: NamedFile, home: str) -> GoogleCredential:
    """What ``[gs://bucket]`` says. Raises for what cannot be right."""
    section = Section(values, name, file.path, home)
    section.only(KNOWN)
    endpoint = section.text("endpoint").rstrip("/")
    if endpoint and not endpoint.startswith(("https://", "http://")):
        raise section.error("endpoint is not a URL of the form https://host[:port]")
    key, key_file = None, section.file("key_file", private=True)
    if key_file and section.secret("token") is not None:
        raise section.error("at most one of key_file and token can be used")
    if key_file:
        key = _key(Path(key_file), f"key_file of [{name}] in {file.path}")
    return GoogleCredential(
        key=key,
        origin=f"key_file {key_file} of [{name}]" if key_file else "",
        endpoint=endpoint,
        ca_file=section.file("ca_file"),
        insecure=section.insecure(),
        project=section.text("project") or _project(key),
        user_project=section.text("user_project"),
        section=name,
    )


def from_key(file: NamedFile) -> GoogleCredential:
    """The JSON of a service account, or of another sort that Google's tools write."""
    key = _key(file.path, file.origin)
    return GoogleCredential(key=key, origin=f"{file.path} ({file.origin})", project=_project(key))


def from_boto(file: NamedFile, pkcs12: NamedFile | None, environ: Mapping[str, str]) -> GoogleCredential:
    """What gsutil's configuration says; ``pkcs12``: the key that is used in place of the one named there."""
    where = f"BOTO_CONFIG {file.path}"
    values = _boto(file, where)
    host, port = values.get("gs_json_host") or values.get("gs_host", ""), values.get("gs_json_port", "")
    found = GoogleCredential(
        origin=f"{file.path} ({file.origin})",
        endpoint=f"https://{host}{f':{port}' if port else ''}" if host else "",
        ca_file=_readable(values.get("ca_certificates_file", ""), where),
        insecure=values.get("https_validate_certificates", "").lower() in ("false", "0", "no"),
        project=values.get("default_project_id", ""),
    )
    named = values.get("gs_service_key_file", "")
    if pkcs12 is None and named:
        pkcs12 = NamedFile(Path(_expanded(named, environ)), f"gs_service_key_file of {where}")
    if pkcs12 is not None:
        check_private(pkcs12.path, pkcs12.origin)
        if (content := read_private(pkcs12.path, pkcs12.origin)).lstrip().startswith(b"{"):
            key = _key(pkcs12.path, pkcs12.origin)
            return found._replace(key=key, project=found.project or _project(key))
        email = values.get("gs_service_client_id", "")
        if not email:
            raise CredentialError(f"{where}: no gs_service_client_id, which a PKCS12 key needs")
        password = Secret(values.get("gs_service_key_file_password") or USUAL_PASSWORD)
        uri = values.get("provider_token_uri", "")
        origin = f"{pkcs12.path} ({pkcs12.origin})"
        return found._replace(pkcs12=content, email=email, password=password, token_uri=uri, origin=origin)
    if refresh := values.get("gs_oauth2_refresh_token", ""):
        client = {key: values.get(key, "") for key in ("client_id", "client_secret")}
        if not all(client.values()):
            hint = "add them, or use the key file of a service account"
            raise CredentialError(f"{where}: no client_id and client_secret in [OAuth2]", hint)
        made = {"type": "authorized_user", "refresh_token": refresh, **client}
        if uri := values.get("provider_token_uri", ""):
            made["token_uri"] = uri
        return found._replace(key=Secret(json.dumps(made)))
    if values.get("gs_access_key_id"):
        hint = "use them with s3:// at https://storage.googleapis.com, or a service account with gs://"
        raise CredentialError(f"{where} holds HMAC keys only", hint)
    return found._replace(origin="")


def _boto(file: NamedFile, where: str) -> dict[str, str]:
    """All keys of all sections in one: no two sections have one of the same name."""
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(read_private(file.path, file.origin).decode("utf-8-sig"))
    except (UnicodeDecodeError, configparser.Error):
        raise CredentialError(f"{where} cannot be understood") from None
    return {key: value.strip() for name in parser.sections() for key, value in parser.items(name)}


def _expanded(path: str, environ: Mapping[str, str]) -> str:
    return environ.get("HOME", "") + path[1:] if path.startswith("~/") else path


def _readable(path: str, where: str) -> str:
    if path and path != "system" and not Path(path).is_file():
        raise CredentialError(f"{where}: ca_certificates_file is not a file: {path}")
    return "" if path == "system" else path


def _key(path: Path, origin: str) -> Secret:
    """The text of a key file, which is what Google's library knows."""
    try:
        text = read_private(path, origin).decode("utf-8")
        kind = json.loads(text)["type"]
    except (ValueError, LookupError, TypeError, RecursionError):
        kind = ""
    if kind not in KINDS:
        hint = f"its type must be one of {', '.join(sorted(KINDS))}"
        raise CredentialError(f"{path} ({origin}) is no key file of Google's", hint)
    return Secret(text)


def _project(key: Secret | None) -> str:
    if key is None:
        return ""
    found = json.loads(key.reveal())
    project = found.get("project_id") or found.get("quota_project_id")
    return project if isinstance(project, str) else ""
