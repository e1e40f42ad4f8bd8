"""``pegasus-version``: Pegasus' Python API looks for it, to find the other commands beside it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pegasus_toolkit import __version__


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the version; ``-l``: and whose it is."""
    words = sys.argv[1:] if argv is None else argv
    print(f"pegasus-toolkit {__version__}" if {"-l", "--long"} & set(words) else __version__)
    return 0
