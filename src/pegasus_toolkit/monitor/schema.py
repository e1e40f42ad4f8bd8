"""The tables of a run's database; docs/planner/watching.md tells what stands in them.

Times are seconds since 1970, sizes bytes, durations seconds; NULL: not known (yet).
"""

from __future__ import annotations

VERSION = 3

TABLES = """
CREATE TABLE sources (
    name TEXT PRIMARY KEY, offset INTEGER NOT NULL, head BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE runs (
    id INTEGER PRIMARY KEY, started REAL NOT NULL, ended REAL, pid INTEGER, status INTEGER,
    recovery INTEGER NOT NULL DEFAULT 0, rescue TEXT NOT NULL DEFAULT ''
);
CREATE TABLE nodes (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, submit TEXT NOT NULL,
    bundle TEXT NOT NULL, dag TEXT NOT NULL, pre INTEGER NOT NULL, post INTEGER NOT NULL,
    marked INTEGER NOT NULL, retries INTEGER NOT NULL, never INTEGER, aborts INTEGER,
    state TEXT NOT NULL, since REAL NOT NULL, failures INTEGER NOT NULL
);
CREATE TABLE edges (
    child INTEGER NOT NULL, parent INTEGER NOT NULL, PRIMARY KEY (child, parent)
) WITHOUT ROWID;
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY, node INTEGER NOT NULL, job TEXT NOT NULL, submitted REAL, started REAL,
    ended REAL, checked REAL, status INTEGER, signal INTEGER, verdict INTEGER, host TEXT NOT NULL,
    held REAL, reason TEXT NOT NULL, removed INTEGER NOT NULL, failed INTEGER
);
CREATE TABLE records (
    id INTEGER PRIMARY KEY, attempt INTEGER, node INTEGER NOT NULL, at REAL NOT NULL, number INTEGER NOT NULL,
    status INTEGER, verdict INTEGER, why TEXT NOT NULL, offset INTEGER NOT NULL, length INTEGER NOT NULL,
    kind TEXT NOT NULL, site TEXT NOT NULL, host TEXT NOT NULL, started REAL, seconds REAL, "exit" INTEGER,
    phase TEXT NOT NULL, error TEXT NOT NULL, failure TEXT NOT NULL, bytes_in INTEGER NOT NULL,
    bytes_out INTEGER NOT NULL, checks INTEGER NOT NULL, mismatches INTEGER NOT NULL,
    unchecked INTEGER NOT NULL, check_seconds REAL
);
CREATE TABLE tasks (
    record INTEGER NOT NULL, position INTEGER NOT NULL, id TEXT NOT NULL, transformation TEXT NOT NULL,
    program TEXT NOT NULL, arguments TEXT NOT NULL, container TEXT NOT NULL, started REAL, seconds REAL,
    "exit" INTEGER, signal INTEGER, user_seconds REAL, system_seconds REAL, max_rss INTEGER,
    PRIMARY KEY (record, position)
) WITHOUT ROWID;
CREATE TABLE transfers (
    record INTEGER NOT NULL, position INTEGER NOT NULL, lfn TEXT NOT NULL, kind TEXT NOT NULL,
    source TEXT NOT NULL, destination TEXT NOT NULL, bytes INTEGER, seconds REAL, route TEXT NOT NULL,
    attempts INTEGER, error TEXT NOT NULL, PRIMARY KEY (record, position)
) WITHOUT ROWID;
CREATE TABLE files (
    record INTEGER NOT NULL, made INTEGER NOT NULL, lfn TEXT NOT NULL, size INTEGER, algorithm TEXT NOT NULL,
    digest TEXT NOT NULL, places TEXT NOT NULL, PRIMARY KEY (record, made, lfn)
) WITHOUT ROWID;
CREATE TABLE metadata (
    kind TEXT NOT NULL, name TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (kind, name, key)
) WITHOUT ROWID;
CREATE INDEX attempts_of ON attempts (node);
CREATE INDEX attempts_job ON attempts (job);
CREATE INDEX records_of ON records (node);
CREATE VIEW provenance AS
    SELECT files.lfn, files.algorithm, files.digest, files.size, files.places, nodes.name AS node,
        records.at, records.number AS attempt, records.id AS record
    FROM files JOIN records ON records.id = files.record JOIN nodes ON nodes.id = records.node
    WHERE files.made AND records.verdict = 0;
CREATE VIEW checks AS
    SELECT nodes.name AS node, records.number AS attempt, records.checks AS made,
        records.mismatches AS failed, records.unchecked AS missing, records.check_seconds AS seconds
    FROM records JOIN nodes ON nodes.id = records.node;
"""
