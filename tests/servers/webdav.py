"""Real WebDAV servers on loopback: Apache with mod_dav, WsgiDAV, and nginx, which has no PROPFIND."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.servers.common import free_port, listens, missing, program, public_directory, running
from tests.servers.nginx import PASSWORD, TOKEN, USER
from tests.servers.pki import Pki

APACHE_MODULES = (
    "mpm_event authn_core authn_file authz_core authz_user auth_basic auth_digest dav dav_fs alias "
    "headers rewrite setenvif ssl socache_shmcb log_config unixd"
)
APACHE = """
ServerRoot {home}
ServerName localhost
Listen 127.0.0.1:{port}
Listen 127.0.0.1:{tls_port}
PidFile {home}/run/pid
DefaultRuntimeDir {home}/run
ErrorLog {home}/error.log
{modules}
LogFormat "%>s %m %U expect=%{{Expect}}i %D" lines
CustomLog {home}/access.log lines
DocumentRoot {home}/data
DavLockDB {home}/run/DavLock
AliasMatch ^/(dav|basic|digest|token|living|client|cap|away|readonly)(.*)$ {home}/data$2
<Directory {home}/data>
  Require all granted
</Directory>
<LocationMatch ^/(dav|basic|digest|token|living|client|cap|readonly)>
  Dav On
</LocationMatch>
<Location /basic>
  AuthType Basic
  AuthName dav
  AuthUserFile {home}/htpasswd
  Require valid-user
</Location>
<Location /digest>
  AuthType Digest
  AuthName dav
  AuthDigestProvider file
  AuthUserFile {home}/htdigest
  Require valid-user
</Location>
<Location /token>
  RewriteEngine On
  RewriteCond "%{{HTTP:Authorization}}" "!=Bearer {token}"
  RewriteRule .* - [R=401,L]
</Location>
<Location /living>
  RewriteEngine On
  RewriteCond "{home}/accepted/%{{HTTP:Authorization}}" "!-f"
  RewriteRule .* - [R=401,L]
</Location>
<Location /client>
  Require expr %{{SSL_CLIENT_VERIFY}} == 'SUCCESS'
</Location>
<Location /cap>
  LimitRequestBody 100000
</Location>
<Location /readonly>
  <LimitExcept GET HEAD OPTIONS PROPFIND>
    Require all denied
  </LimitExcept>
</Location>
RedirectMatch 307 ^/away/(.*)$ https://localhost:{tls_port}/dav/$1
<VirtualHost 127.0.0.1:{tls_port}>
  SSLEngine on
  SSLCertificateFile {pki.cert}
  SSLCertificateKeyFile {home}/host.key
  SSLCACertificateFile {pki.ca}
  SSLVerifyClient optional
</VirtualHost>
{account}
"""
NGINX = """
daemon off; worker_processes 1; pid {home}/nginx.pid; error_log {home}/error.log warn; {user}
events {{ worker_connections 256; }}
http {{
  default_type application/octet-stream; keepalive_requests 100000; client_max_body_size 0;
  log_format lines '$status $request_method $uri'; access_log {home}/access.log lines;
  client_body_temp_path {home}/t1; proxy_temp_path {home}/t2; fastcgi_temp_path {home}/t3;
  uwsgi_temp_path {home}/t4; scgi_temp_path {home}/t5;
  server {{
    listen 127.0.0.1:{port}; server_name localhost;
    location /dav/ {{ alias {home}/data/; autoindex on; autoindex_format json;
      dav_methods PUT DELETE MKCOL COPY MOVE; dav_access user:rw group:rw all:rw; }}
    location /put-only/ {{ alias {home}/data/; autoindex on; autoindex_format json;
      dav_methods PUT DELETE MKCOL; create_full_put_path on; }}
  }}
}}
"""


class Dav(NamedTuple):
    """A server and its files: those below ``data`` as /dav/NAME, and under other prefixes."""

    port: int
    tls_port: int
    home: Path

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def authority(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def tls_authority(self) -> str:
        return f"localhost:{self.tls_port}"

    def lines(self) -> list[str]:
        """Status, method and path of each request, one a line."""
        return (self.home / "access.log").read_text().splitlines()


def _prepare(home: Path) -> Dav:
    for name in ("data", "run"):
        (home / name).mkdir()
        (home / name).chmod(0o777)
    return Dav(free_port(), free_port(), home)


@contextmanager
def serve_apache(home: Path, pki: Pki) -> Iterator[Dav]:
    """Basic auth under /basic/, Digest, token, client certificate; /cap/ takes 100 kB, /readonly/ nothing;
    /living/ what ``home/accepted`` has a file for, of the name of the header."""
    binary = program("apache2")
    server = _prepare(home)
    hashed = subprocess.run(
        [program("openssl"), "passwd", "-apr1", "-stdin"],
        input=PASSWORD,
        text=True,
        capture_output=True,
        check=True,
    ).stdout
    (home / "htpasswd").write_text(f"{USER}:{hashed.strip()}\n")
    digest = hashlib.md5(f"{USER}:dav:{PASSWORD}".encode()).hexdigest()
    (home / "htdigest").write_text(f"{USER}:dav:{digest}\n")
    (home / "host.key").write_bytes(pki.key.read_bytes())
    modules = Path("/usr/lib/apache2/modules")
    lines = [
        f"LoadModule {name}_module {modules}/mod_{name}.so"
        for name in APACHE_MODULES.split()
        if (modules / f"mod_{name}.so").exists()
    ]
    account = "User www-data\nGroup www-data" if os.geteuid() == 0 else ""
    text = APACHE.format(
        home=home,
        port=server.port,
        tls_port=server.tls_port,
        pki=pki,
        token=TOKEN,
        account=account,
        modules="\n".join(lines),
    )
    (home / "httpd.conf").write_text(text)
    argv = [binary, "-D", "FOREGROUND", "-f", str(home / "httpd.conf")]
    with running(argv, home / "output.log", lambda: listens(server.port) and listens(server.tls_port)):
        yield server


@contextmanager
def serve_wsgidav(home: Path) -> Iterator[Dav]:
    """Open to all under /dav/; Basic and Digest by the same user under /private/."""
    if find_spec("wsgidav") is None or find_spec("cheroot") is None:
        missing("wsgidav and cheroot are not installed")
    server = _prepare(home)
    config = {
        "host": "127.0.0.1",
        "port": server.port,
        "server": "cheroot",
        "provider_mapping": {"/dav": str(server.data), "/private": str(server.data)},
        "property_manager": True,
        "lock_storage": True,
        "http_authenticator": {"accept_basic": True, "accept_digest": True, "default_to_digest": True},
        "simple_dc": {"user_mapping": {"/dav": True, "/private": {USER: {"password": PASSWORD}}}},
    }
    (home / "wsgidav.json").write_text(json.dumps(config))
    argv = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "wsgidav.server.server_cli",
        "--config",
        str(home / "wsgidav.json"),
        "-q",
    ]
    with running(argv, home / "output.log", lambda: listens(server.port)):
        yield server


@contextmanager
def serve_nginx(home: Path) -> Iterator[Dav]:
    """Without PROPFIND; /put-only/ without MOVE either."""
    binary = program("nginx")
    server = _prepare(home)
    user = "user root;" if os.geteuid() == 0 else ""
    (home / "nginx.conf").write_text(NGINX.format(home=home, port=server.port, user=user))
    argv = [binary, "-c", str(home / "nginx.conf"), "-p", str(home), "-e", str(home / "error.log")]
    with running(argv, home / "output.log", lambda: listens(server.port)):
        yield server


@pytest.fixture(scope="session")
def apache_dav(pki: Pki) -> Iterator[Dav]:
    with public_directory("apache-") as home, serve_apache(home, pki) as server:
        yield server


@pytest.fixture(scope="session")
def wsgidav() -> Iterator[Dav]:
    with public_directory("wsgidav-") as home, serve_wsgidav(home) as server:
        yield server


@pytest.fixture(scope="session")
def nginx_dav() -> Iterator[Dav]:
    with public_directory("nginx-dav-") as home, serve_nginx(home) as server:
        yield server
