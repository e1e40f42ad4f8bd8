"""What the site has beside docs/: pages of the root, and the reference that is made from the code."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

import pegasus_toolkit
from pegasus_toolkit.cli.files import VERBS

ROOT = Path(__file__).resolve().parent.parent
OF_THE_ROOT = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "benchmarks/README.md")


def on_config(config: Any) -> Any:
    """Each protocol and each decision has its page in the navigation."""
    for part in config["nav"]:
        for title, folder in (("Protocols", "protocols"), ("Decisions", "decisions")):
            if title in part:
                pages = sorted((ROOT / "docs" / folder).glob("*.md"))
                part[title] = [f"{folder}/{page.name}" for page in pages]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages that are not files of docs/."""
    for name in (*OF_THE_ROOT, "benchmarks/results.svg"):
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    files.append(File.generated(config, "reference/commands.md", content=commands()))
    files.append(File.generated(config, "reference/python.md", content=python()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links from a page of one root to one of the other; what is no page of the site is only named."""
    here = page.file.src_uri
    up = "../" * here.count("/")
    if here in OF_THE_ROOT:
        return markdown.replace(f"]({up}docs/", f"]({up}").replace("[license](LICENSE)", "license")
    for name in OF_THE_ROOT:
        markdown = markdown.replace(f"](../{up}{name}", f"]({up}{name}")
    return markdown


def commands() -> str:
    """The help of every command, as it prints it."""
    scripts = entry_points(group="console_scripts")
    names = sorted(one.name for one in scripts if one.value.startswith("pegasus_toolkit."))
    text = "# Every command\n\nWhat `--help` prints, made from the code.\n"
    for name in names:
        program = Path(sys.executable).with_name(name)
        shown = subprocess.run([program, "--help"], capture_output=True, text=True, check=True).stdout
        text += f"\n## {name}\n\n```text\n{shown.rstrip()}\n```\n"
        for verb in VERBS if name == "pegasus-files" else ():
            argv = [program, verb, "--help"]
            shown = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
            text += f"\n### {name} {verb}\n\n```text\n{shown.rstrip()}\n```\n"
    return text


def python() -> str:
    """What is public in ``pegasus_toolkit``: signatures and docstrings."""
    text = "# The Python API\n\nMade from the code; [how to use it](../python.md).\n"
    for name in pegasus_toolkit.__all__:
        found = getattr(pegasus_toolkit, name)
        if not callable(found):
            continue
        called = inspect.isfunction(found)
        head = f"{name}{inspect.signature(found)}" if called else f"class {name}"
        fields = getattr(found, "_fields", ()) or getattr(found, "__struct_fields__", ())
        text += f"\n## {name}\n\n```python\n{head}\n```\n\n{_prose(found)}\n"
        if fields:
            text += f"\nFields: {', '.join(f'`{one}`' for one in fields)}.\n"
    return text


def _prose(found: Any) -> str:
    """A docstring as Markdown."""
    text = inspect.getdoc(found) or ""
    text = re.sub(r":(?:class|func):`([^`]+)`", r"`\1`", text)
    return text.replace("``", "`")
