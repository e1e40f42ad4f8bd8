"""Where files are on their way: scratch directories of this run, storage, and who can reach them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote

from pegasus_toolkit.planner.catalogs import LOCAL, Catalogs, Pfn, Site
from pegasus_toolkit.planner.model import Configuration, Settings
from pegasus_toolkit.schemes import SCHEMES

_PLAIN = re.compile(r"[A-Za-z0-9_.~/-]*")


class Places:
    """Answers from catalogs and settings; an empty URL where a site lacks what is asked for."""

    def __init__(self, catalogs: Catalogs, settings: Settings) -> None:
        self._sites = catalogs.sites
        self._settings = settings
        self._bases: dict[tuple[str, tuple[str, ...]], str] = {}

    def staging(self, site: str, configuration: Configuration) -> str:
        """The site that files of jobs at ``site`` pass through."""
        if configuration == "condorio":
            return LOCAL
        if configuration == "sharedfs":
            return site
        staging = self._settings.staging
        return staging.get(site) or staging.get("") or site

    def scratch(self, site: str, *operations: str) -> str:
        """The URL of this run's directory at a staging site."""
        key = (site, operations)
        if key not in self._bases:
            known = self._sites.get(site)
            directory = known.directory("sharedScratch", "sharedStorage") if known else None
            base = directory.url(*operations) if directory else ""
            self._bases[key] = join(base, self._settings.scratch) if base else ""
        return self._bases[key]

    def get(self, site: str, lfn: str) -> Pfn:
        """Where to read a file of this run."""
        return Pfn(site, join(self.scratch(site, "all", "get"), lfn))

    def put(self, site: str, lfn: str) -> Pfn:
        """Where to write a file of this run."""
        return Pfn(site, join(self.scratch(site, "all", "put"), lfn))

    def directory(self, site: str) -> str:
        """The path of this run's directory, as jobs at the site see it."""
        directory = self._sites[site].directory("sharedScratch", "sharedStorage")
        return f"{directory.path.rstrip('/')}/{self._settings.scratch}" if directory else ""

    def storage(self, site: str, lfn: str, directory: str = "") -> Pfn:
        """Where an output of the workflow is to stay; ``directory``: a local path, in place of the usual."""
        if directory or self._settings.output_directory:
            return Pfn(site, join("file://" + (directory or self._settings.output_directory), lfn))
        known = self._sites.get(site)
        storage = known.directory("localStorage", "sharedStorage") if known else None
        base = storage.url("all", "put") if storage else ""
        return Pfn(site, join(base, lfn) if base else "")

    def first(self, sites: Iterable[str], *pfns: Pfn) -> str:
        """The first of the sites whose jobs can use all these URLs; "" for none."""
        return next((at for at in sites if all(self.reaches(at, pfn) for pfn in pfns)), "")

    def reaches(self, at: str, pfn: Pfn) -> bool:
        """Whether a job at the site ``at`` can use the URL: a file only where it is, all others always."""
        if not pfn.url.startswith("file://") or pfn.site == at:
            return True
        return _submit_host(self._sites.get(at)) and _submit_host(self._sites.get(pfn.site))


def _submit_host(site: Site | None) -> bool:
    return site is not None and site.submit_host


def join(base: str, name: str) -> str:
    """The URL of ``name`` below ``base``; its letters are quoted where they would mean something else."""
    if _PLAIN.fullmatch(name):  # as nearly all are: quoting would leave it as it is
        return f"{base.rstrip('/')}/{name}"
    known = SCHEMES.get(base.partition("://")[0].lower())
    return f"{base.rstrip('/')}/{quote(name) if known is not None and known.quoted else name}"


def path_of(url: str) -> str:
    """The path of a ``file://`` URL; "" of another."""
    return url[7:] if url.startswith("file://") else ""
