"""Which secret opens which site; imports nothing else of ours."""

from __future__ import annotations


class Credentials:
    """Placeholder until the module lands."""
