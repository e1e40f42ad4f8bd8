"""Who logs in at Rucio: ``rucio.cfg``, the variables of its client, and section [rucio]; nothing is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from pegasus_toolkit.credentials import CredentialError, Credentials
from pegasus_toolkit.credentials.rucio import RucioCredential
from tests.servers.grid_pki import Grid

CONFIG = """\
[client]
rucio_host = https://rucio.example.org/
account = joe
auth_type = userpass
username = joe
password = s3cret
request_retries = 3
"""


def private(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(0o600)
    path.write_text(text)
    return path


def found(site: str = "", **environ: object) -> RucioCredential:
    return Credentials({key: str(value) for key, value in environ.items()}, "", "").rucio(site)


def test_rucios_own_configuration(tmp_path: Path) -> None:
    config = private(tmp_path / "etc/rucio.cfg", CONFIG)
    for environ in ({"RUCIO_CONFIG": config}, {"RUCIO_HOME": tmp_path}, {"VIRTUAL_ENV": tmp_path}):
        one = found(**environ)
        assert one[:5] == ("https://rucio.example.org",) * 2 + ("joe", "def", "userpass")
        assert one.password is not None and one.password.reveal() == "s3cret"
        assert "s3cret" not in repr(one)


def test_the_sites_own_comes_first_and_the_section_before_all(tmp_path: Path) -> None:
    one = private(tmp_path / "one.cfg", CONFIG)
    other = private(tmp_path / "other.cfg", CONFIG.replace("joe", "jane"))
    environ = {"RUCIO_CONFIG": one, "RUCIO_CONFIG_my_lab": other}
    assert [found(site, **environ).username for site in ("", "my-lab")] == ["joe", "jane"]
    assert [found(site, **environ, RUCIO_ACCOUNT_my_lab="group").account for site in ("", "my-lab")] == [
        "joe",
        "group",
    ]
    section = private(tmp_path / "credentials.conf", "[rucio]\naccount = best\nlifetime = 60\n")
    told = found("my-lab", **environ, RUCIO_ACCOUNT="group", PEGASUS_CREDENTIALS=section)
    assert (told.account, told.username, told.lifetime) == ("best", "jane", 60)


def test_passwords_and_tokens_are_taken_out_of_texts(tmp_path: Path) -> None:
    config = private(tmp_path / "rucio.cfg", CONFIG)
    credentials = Credentials({"RUCIO_CONFIG": str(config)}, "", "")
    credentials.rucio()
    assert "s3cret" not in credentials.mask("it was s3cret")


def test_a_password_that_others_can_read_is_refused(tmp_path: Path) -> None:
    config = private(tmp_path / "rucio.cfg", CONFIG)
    config.chmod(0o644)
    with pytest.raises(CredentialError, match="chmod 600"):
        found(RUCIO_CONFIG=config)
    config.write_text(CONFIG.replace("password = s3cret", "").replace("userpass", "x509_proxy"))
    with pytest.raises(CredentialError, match="voms-proxy-init"):
        found(RUCIO_CONFIG=config)


def test_proxies(tmp_path: Path, grid: Grid) -> None:
    config = private(tmp_path / "rucio.cfg", CONFIG.replace("userpass", "x509_proxy"))
    environ = {
        "RUCIO_CONFIG": config,
        "X509_USER_PROXY": grid.proxy,
        "X509_USER_PROXY_other": grid.other_proxy,
    }
    assert found(**environ).certificate == str(grid.proxy)
    assert found("other", **environ).certificate == str(grid.other_proxy)
    assert found(**environ, RUCIO_CLIENT_PROXY=grid.other_proxy).certificate == str(grid.other_proxy)
    with pytest.raises(CredentialError, match="expired at"):
        found(**environ, RUCIO_CLIENT_PROXY=grid.expired)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("rucio_host = https://rucio.example.org/", ""), "no rucio_host"),
        (("https://rucio", "rucio"), "not a URL"),
        (("auth_type = userpass", ""), "no auth_type"),
        (("userpass", "gss"), "is one of userpass"),
        (("password = s3cret", ""), "needs username and password"),
        (("userpass", "oidc"), "no token for Rucio"),
        (("userpass", "x509"), "needs client_cert"),
        (("[client]", "[client"), "cannot be understood"),
        (("account = joe", "ca_cert = /no/such"), "is not there"),
        (("account = joe", "lifetime = long"), "no number of seconds"),
    ],
)
def test_what_cannot_be_right(change: tuple[str, str], message: str, tmp_path: Path) -> None:
    config = private(tmp_path / "rucio.cfg", CONFIG.replace(*change))
    with pytest.raises(CredentialError, match=message) as caught:
        found(RUCIO_CONFIG=config)
    assert "s3cret" not in str(caught.value)


def test_a_misspelt_key_of_the_section_is_told(tmp_path: Path) -> None:
    section = private(tmp_path / "credentials.conf", "[rucio]\nacount = joe\n")
    with pytest.raises(CredentialError, match="line 2"):
        found(PEGASUS_CREDENTIALS=section)


def test_no_configuration_at_all() -> None:
    with pytest.raises(CredentialError, match="RUCIO_CONFIG"):
        found()
