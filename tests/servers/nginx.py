"""A real nginx on loopback, plain and with TLS, over one directory of files."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.servers.common import free_port, listens, program, public_directory, running
from tests.servers.pki import Pki

USER, PASSWORD, TOKEN = "wflow", "pass%word:1", "token-1f9d"

CONFIGURATION = """
daemon off; worker_processes 1; pid {home}/nginx.pid; error_log {home}/error.log warn; {user}
events {{ worker_connections 256; }}
http {{
  default_type application/octet-stream; keepalive_requests 100000; sendfile on;
  log_format lines '$status "$request" range="$http_range" connection=$connection';
  access_log {home}/access.log lines;
  client_body_temp_path {home}/t1; proxy_temp_path {home}/t2; fastcgi_temp_path {home}/t3;
  uwsgi_temp_path {home}/t4; scgi_temp_path {home}/t5;
  server {{
    listen 127.0.0.1:{port}; listen 127.0.0.1:{tls_port} ssl; listen 127.0.0.2:{tls_port} ssl;
    server_name localhost;
    ssl_certificate {pki.cert}; ssl_certificate_key {pki.key};
    ssl_client_certificate {pki.ca}; ssl_verify_client optional;
    location /files/ {{ alias {home}/data/; autoindex on; }}
    location /json/ {{ alias {home}/data/; autoindex on; autoindex_format json; }}
    location /slow/ {{ alias {home}/data/; limit_rate 2m; }}
    location /bare/ {{ alias {home}/data/; etag off; max_ranges 0; }}
    location /dated/ {{ alias {home}/data/; etag off; }}
    location /private/ {{ alias {home}/data/; auth_basic p; auth_basic_user_file {home}/htpasswd; }}
    location /token/ {{ if ($http_authorization != "Bearer {token}") {{ return 401; }} alias {home}/data/; }}
    location /living/ {{
      if (!-f "{home}/accepted/$http_authorization") {{ return 401; }} alias {home}/data/; }}
    location /header/ {{ if ($http_x_token != "{token}") {{ return 403; }} alias {home}/data/; }}
    location /client/ {{ if ($ssl_client_verify != SUCCESS) {{ return 403; }} alias {home}/data/; }}
    location /redirect/ {{ rewrite ^/redirect/(.*)$ /files/$1 redirect; }}
    location /away/ {{ rewrite ^/away/(.*)$ https://localhost:{tls_port}/$1 redirect; }}
    location /loop/ {{ return 302 /loop/; }}
    location /to-http/ {{ return 302 http://127.0.0.1:{port}/files/; }}
    location /busy/ {{ add_header Retry-After 7 always; return 503; }}
    location /broken/ {{ return 500; }}
  }}
}}
"""


class Nginx(NamedTuple):
    """Where it listens and what it serves: files below ``data`` as /files/NAME and under other prefixes."""

    port: int
    tls_port: int
    data: Path
    log: Path
    pki: Pki

    @property
    def authority(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def tls_authority(self) -> str:
        return f"127.0.0.1:{self.tls_port}"


@pytest.fixture(scope="session")
def nginx(pki: Pki) -> Iterator[Nginx]:
    """One nginx for all tests. With Basic auth under /private/, a token under /token/ and /header/."""
    binary = program("nginx")
    with public_directory("nginx-") as home:
        server = Nginx(free_port(), free_port(), home / "data", home / "access.log", pki)
        server.data.mkdir()
        _password_file(home / "htpasswd")
        user = "user root;" if os.geteuid() == 0 else ""
        text = CONFIGURATION.format(
            home=home, user=user, port=server.port, tls_port=server.tls_port, pki=pki, token=TOKEN
        )
        (home / "nginx.conf").write_text(text)
        argv = [binary, "-c", str(home / "nginx.conf"), "-p", str(home), "-e", str(home / "error.log")]
        with running(argv, home / "output.log", lambda: listens(server.port) and listens(server.tls_port)):
            yield server


def _password_file(path: Path) -> None:
    command = [program("openssl"), "passwd", "-apr1", "-stdin"]
    hashed = subprocess.run(command, input=PASSWORD, text=True, capture_output=True, check=True).stdout
    path.write_text(f"{USER}:{hashed.strip()}\n")
