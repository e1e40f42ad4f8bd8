"""Man pages, completions and the site are made from the code, and can be read by what reads such things."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tests.servers.common import program

ROOT = Path(__file__).resolve().parent.parent
OWN_HELP = {"pegasus-worker", "pegasus-transfer-plugin", "pegasus-version"}


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("share")
    subprocess.run([sys.executable, ROOT / ".ci/share.py", top], check=True, stdout=subprocess.DEVNULL)
    return top


def ours() -> set[str]:
    scripts = entry_points(group="console_scripts")
    return {one.name for one in scripts if one.value.startswith("pegasus_toolkit.")}


def test_every_command_has_a_page_and_completions(share: Path) -> None:
    pages = {page.stem for page in (share / "man/man1").iterdir()}
    assert ours() - pages <= OWN_HELP
    assert {path.name for path in (share / "bash-completion/completions").iterdir()} == pages
    assert {path.name[1:] for path in (share / "zsh/site-functions").iterdir()} == pages


def test_pages_hold_every_option_and_the_examples_line_by_line(share: Path) -> None:
    page = (share / "man/man1/pegasus-transfer.1").read_text().replace("\\-", "-")
    shown = subprocess.run(
        [Path(sys.executable).with_name("pegasus-transfer"), "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    options = set(re.findall(r"^  (?:-\w[^,]*, )?(--[a-z-]+)", shown, re.MULTILINE))
    assert len(options) > 20
    assert {option for option in options if option not in page} <= {"--help"}
    assert "\n  pegasus-transfer -f /tmp/spec.json\n" in page


def test_groff_has_nothing_to_complain_of(share: Path) -> None:
    groff = program("groff")
    for page in (share / "man/man1").iterdir():
        done = subprocess.run(
            [groff, "-man", "-ww", "-Tutf8", page], capture_output=True, text=True, check=True
        )
        assert done.stderr == "", page


def test_bash_completes(share: Path) -> None:
    """What a user gets who types two letters of an option."""
    script = """
        source "$1"
        COMP_WORDS=(pegasus-transfer --ba) COMP_CWORD=1
        _shtab_pegasus_transfer pegasus-transfer --ba
        echo "${COMPREPLY[@]}"
    """
    bash = shutil.which("bash") or "bash"
    file = share / "bash-completion/completions/pegasus-transfer"
    done = subprocess.run([bash, "-c", script, "bash", file], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["--bandwidth"]


def test_the_site_is_built_and_every_link_leads_somewhere(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path / "site"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    commands = (tmp_path / "site/reference/commands.html").read_text()
    assert all(f'id="{name}"' in commands for name in ours())
