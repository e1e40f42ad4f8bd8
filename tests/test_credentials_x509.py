"""X.509 proxies: which one serves a site, and none that is over, open to others, or somebody else's."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pegasus_toolkit.credentials import CredentialError, Credentials
from tests.servers.grid_pki import HOUR, Grid, authority, user, write_private, write_proxy


def proxy_of(environ: dict[str, Path | str], shared: Path | str = "", site: str = "cern-1") -> str | None:
    credentials = Credentials({name: str(value) for name, value in environ.items()}, "", str(shared))
    found = credentials.proxy(site)
    return None if found is None else found.path


def test_what_is_said_for_the_site_counts_first(grid: Grid, tmp_path: Path) -> None:
    usual = tmp_path / f"x509up_u{os.geteuid()}"
    write_private(usual, grid.proxy.read_bytes())
    pair: dict[str, Path | str] = {"X509_USER_CERT": grid.user_cert, "X509_USER_KEY": grid.user_key}
    everyone: dict[str, Path | str] = {**pair, "X509_USER_PROXY": grid.proxy}
    assert proxy_of({**everyone, "X509_USER_PROXY_cern_1": grid.other_proxy}, tmp_path) == str(
        grid.other_proxy
    )
    assert proxy_of({**everyone, "X509_USER_PROXY_cern_2": grid.other_proxy}, tmp_path) == str(grid.proxy)
    assert proxy_of(pair, tmp_path) == str(grid.user_cert)
    assert proxy_of({}, tmp_path) == str(usual)
    assert proxy_of({}, tmp_path / "nowhere") is None
    assert proxy_of({}, "") is None


def test_dates_are_those_of_the_whole_chain(grid: Grid, tmp_path: Path) -> None:
    found = Credentials({"X509_USER_PROXY": str(grid.proxy)}, "", "").proxy()
    assert found is not None
    assert abs(found.expires - time.time() - 12 * HOUR) < HOUR
    assert 11 * HOUR < found.left() <= 12 * HOUR
    assert found.proxy
    longer = write_proxy(tmp_path / "longer", user("Someone", authority("A", "CA")), ends=100 * HOUR)
    found = Credentials({"X509_USER_PROXY": str(longer)}, "", "").proxy()
    assert found is not None and found.left() <= 24 * HOUR, "the user's own certificate ends before"


def test_certificate_and_key(grid: Grid) -> None:
    environ = {"X509_USER_CERT": str(grid.user_cert), "X509_USER_KEY": str(grid.user_key)}
    found = Credentials(environ, "", "").proxy()
    assert found is not None
    assert (found.certificate, found.key, found.proxy) == (str(grid.user_cert), str(grid.user_key), False)
    del environ["X509_USER_KEY"]
    with pytest.raises(CredentialError, match="X509_USER_CERT and X509_USER_KEY go together"):
        Credentials(environ, "", "").proxy()


def test_expired_proxy_says_when_which_and_what_to_do(grid: Grid) -> None:
    with pytest.raises(CredentialError) as caught:
        proxy_of({"X509_USER_PROXY_cern_1": grid.expired})
    text = str(caught.value)
    assert f"{grid.expired} (named by X509_USER_PROXY_cern_1) expired at 20" in text
    assert "UTC" in text and "voms-proxy-init -out" in text and "grid-proxy-init -out" in text


def test_proxy_of_tomorrow(grid: Grid) -> None:
    with pytest.raises(CredentialError, match="is not valid before 20"):
        proxy_of({"X509_USER_PROXY": grid.future})


def test_what_is_over_at_the_usual_place_matters_where_it_is_needed(grid: Grid, tmp_path: Path) -> None:
    write_private(tmp_path / f"x509up_u{os.geteuid()}", grid.expired.read_bytes())
    credentials = Credentials({}, "", str(tmp_path))
    assert credentials.proxy("site", needed=False) is None
    with pytest.raises(CredentialError, match="at the usual place"):
        credentials.proxy("site")
    named = Credentials({"X509_USER_PROXY": str(grid.expired)}, "", "")
    with pytest.raises(CredentialError, match="expired"):
        named.proxy("site", needed=False)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_proxy_that_others_can_read(grid: Grid, tmp_path: Path, mode: int) -> None:
    copy = write_private(tmp_path / "a proxy", grid.proxy.read_bytes())
    copy.chmod(mode)
    with pytest.raises(CredentialError) as caught:
        proxy_of({"X509_USER_PROXY": copy})
    assert "X.509 proxy" in str(caught.value)
    assert f"chmod 600 '{copy}'" in str(caught.value)


def test_file_of_another_user_at_the_usual_place_is_not_looked_at(grid: Grid, tmp_path: Path) -> None:
    planted = write_private(tmp_path / f"x509up_u{os.geteuid()}", grid.proxy.read_bytes())
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(planted, 12345, 12345)
    assert proxy_of({}, tmp_path) is None


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "no private key"),
        (b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n", "has a passphrase"),
        (b"-----BEGIN PRIVATE KEY-----\n", "holds no certificate"),
        (
            b"-----BEGIN PRIVATE KEY-----\n-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----",
            "holds no",
        ),
        (
            b"-----BEGIN PRIVATE KEY-----\n-----BEGIN CERTIFICATE-----\n?!\n-----END CERTIFICATE-----",
            "holds no",
        ),
    ],
)
def test_broken_proxy(tmp_path: Path, content: bytes, what: str) -> None:
    with pytest.raises(CredentialError, match=what):
        proxy_of({"X509_USER_PROXY": write_private(tmp_path / "proxy", content)})


def test_cut_certificate_is_no_proxy(grid: Grid, tmp_path: Path) -> None:
    whole = grid.proxy.read_bytes()
    for end in range(30, whole.index(b"-----END"), 97):
        cut = whole[:end] + b"\n-----END CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\n"
        path = write_private(tmp_path / "proxy", cut)
        try:
            found = proxy_of({"X509_USER_PROXY": path})
        except CredentialError as error:
            assert "holds no certificate" in str(error)
        else:
            assert found is None, "an unfinished certificate passed"


def test_missing_file_names_the_variable(tmp_path: Path) -> None:
    with pytest.raises(
        CredentialError, match=r"X\.509 proxy .*named by X509_USER_PROXY_cern_1.* does not exist"
    ):
        proxy_of({"X509_USER_PROXY_cern_1": tmp_path / "none"})


def test_web_servers_are_shown_no_proxy(grid: Grid) -> None:
    credentials = Credentials({"X509_USER_PROXY": str(grid.proxy)}, "", "")
    assert credentials.proxy("site", "davs") is not None
    assert [credentials.proxy("site", scheme) for scheme in ("https", "http", "webdav")] == [None] * 3


def test_authorities(grid: Grid, tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert Credentials({"X509_CERT_DIR": str(grid.certificates)}, "").ca_directory() == str(grid.certificates)
    with pytest.raises(CredentialError, match="X509_CERT_DIR"):
        Credentials({"X509_CERT_DIR": str(home)}, "").ca_directory()
    own = home / ".globus" / "certificates"
    own.mkdir(parents=True)
    assert Credentials({}, str(home)).ca_directory() in (str(own), "/etc/grid-security/certificates")
