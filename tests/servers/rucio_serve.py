"""A real Rucio server in the foreground: run by the Python of an environment that has it (see ``rucio.py``).

usage: rucio_serve.py DIRECTORY PORT DATABASE-URL CERTIFICATE KEY AUTHORITY

Makes the schema, the account root (``ddmlab``, ``secret``) and the account tester (``tester``, ``testerpw``,
and the certificate of the test grid's user) with its scope ``user.tester``.
"""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from werkzeug.serving import WSGIRequestHandler, make_server

CONFIG = """\
[common]
logdir = {home}
loglevel = WARNING
mailtemplatedir = {home}
[client]
rucio_host = https://localhost:{port}
auth_host = https://localhost:{port}
auth_type = userpass
[database]
default = {database}
pool_reset_on_return = rollback
[bootstrap]
userpass_identity = ddmlab
userpass_pwd = secret
userpass_email = root@example.org
[policy]
permission = generic
schema = generic
lfn2pfn_algorithm_default = hash
[trace]
tracedir = {home}
brokers = localhost
port = 61013
topic = /topic/rucio.tracer
username = x
password = x
[monitor]
enable_metrics = False
[alembic]
cfg = {home}/alembic.ini
"""
ALEMBIC = """\
[alembic]
script_location = {package}/db/sqla/migrate_repo
sqlalchemy.url = {database}
[loggers]
keys = root
[handlers]
keys =
[formatters]
keys =
[logger_root]
level = WARN
handlers =
"""


def bootstrap() -> None:
    """Schema and accounts."""
    from rucio.common.types import InternalAccount, InternalScope
    from rucio.core.account import add_account
    from rucio.core.identity import add_account_identity, add_identity
    from rucio.core.scope import add_scope
    from rucio.db.sqla.constants import AccountType, DatabaseOperationType, IdentityType
    from rucio.db.sqla.session import db_session
    from rucio.db.sqla.util import build_database, create_base_vo, create_root_account

    build_database()
    create_base_vo()
    create_root_account()
    root, tester = InternalAccount("root"), InternalAccount("tester")
    mail = "tester@example.org"
    with db_session(DatabaseOperationType.WRITE) as session:
        add_account(tester, AccountType.USER, mail, session=session)
        for name, kind, more in (
            ("tester", IdentityType.USERPASS, {"password": "testerpw"}),
            ("/O=Test Grid/CN=Test User", IdentityType.X509, {}),
        ):
            add_identity(name, kind, mail, session=session, **more)
            add_account_identity(name, kind, tester, mail, default=True, session=session)
        add_scope(InternalScope("user.tester"), tester, session=session)
        add_scope(InternalScope("test"), root, session=session)


def application(environ: dict[str, Any], start: Callable[..., Any]) -> Any:
    """Rucio's, which is told whose certificate was shown as Apache would tell it."""
    from rucio.web.rest.main import application as inner

    shown = environ["werkzeug.socket"].getpeercert()
    if shown:
        names = {"organizationName": "O", "commonName": "CN"}
        parts = [f"/{names[key]}={value}" for name in shown["subject"] for key, value in name]
        environ["SSL_CLIENT_S_DN"] = "".join(parts)
    return inner(environ, start)


class Handler(WSGIRequestHandler):
    """Connections are kept; requests are not told."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # else each line of an answer would be a packet

    def log(self, *_: Any) -> None:
        """Nothing."""


def serve(port: str, certificate: str, key: str, authority: str) -> None:
    """Does not return."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority)
    context.load_cert_chain(certificate, key)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.verify_flags |= ssl.VerifyFlags.VERIFY_ALLOW_PROXY_CERTS
    server = make_server(
        "127.0.0.1", int(port), application, threaded=True, request_handler=Handler, ssl_context=context
    )
    server.serve_forever()


def main(home: Path, port: str, database: str, *files: str) -> None:
    """Writes the configuration; becomes the server."""
    found = find_spec("rucio")
    assert found is not None and found.origin is not None
    told = {"home": home, "port": port, "database": database, "package": Path(found.origin).parent}
    (home / "rucio-server.cfg").write_text(CONFIG.format(**told))
    (home / "alembic.ini").write_text(ALEMBIC.format(**told))
    os.environ["RUCIO_CONFIG"] = str(home / "rucio-server.cfg")
    bootstrap()
    serve(port, *files)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
