"""The hub's tables. What each column means and which states there are: docs/formats/ledger.md."""

from __future__ import annotations

from lamppost_hub.database import Schema

NAMESPACE = "lamppost_hub"  # where they are in PostgreSQL

_TABLES = """
CREATE TABLE IF NOT EXISTS gateways (
  number INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  state TEXT NOT NULL CHECK (state IN ('active', 'revoked', 'quarantined')),
  enrolled INTEGER NOT NULL,
  seen INTEGER NOT NULL DEFAULT 0,
  head INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE IF NOT EXISTS keys (
  kid BLOB PRIMARY KEY,
  gateway INTEGER NOT NULL REFERENCES gateways,
  pem BLOB NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('current', 'retired')),
  number INTEGER NOT NULL DEFAULT 0,
  sealed_for BLOB
) STRICT;
CREATE TABLE IF NOT EXISTS certificates (
  serial TEXT PRIMARY KEY,
  gateway INTEGER NOT NULL REFERENCES gateways,
  issued INTEGER NOT NULL,
  not_after INTEGER NOT NULL,
  pem BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS boards (
  gateway INTEGER PRIMARY KEY REFERENCES gateways,
  serial TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS tokens (
  gateway TEXT PRIMARY KEY,
  digest BLOB NOT NULL,
  until INTEGER NOT NULL,
  replaces INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS states (
  gateway INTEGER PRIMARY KEY REFERENCES gateways,
  received INTEGER NOT NULL,
  said INTEGER NOT NULL,
  gone INTEGER NOT NULL,
  content TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS streams (
  number INTEGER PRIMARY KEY,
  gateway INTEGER NOT NULL REFERENCES gateways,
  epoch TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('open', 'epoch-pending', 'quarantined', 'closed')),
  began INTEGER NOT NULL,
  frontier BLOB NOT NULL,
  head BLOB NOT NULL,
  next_reading INTEGER NOT NULL DEFAULT 0,
  readings INTEGER NOT NULL DEFAULT 0,
  missing INTEGER NOT NULL DEFAULT 0,
  bytes INTEGER NOT NULL DEFAULT 0,
  received INTEGER NOT NULL DEFAULT 0,
  approval BLOB,
  UNIQUE (gateway, epoch)
) STRICT;
CREATE TABLE IF NOT EXISTS entries (
  position INTEGER PRIMARY KEY AUTOINCREMENT,
  gateway INTEGER NOT NULL REFERENCES gateways,
  stream INTEGER NOT NULL REFERENCES streams,
  seq INTEGER NOT NULL,
  first INTEGER NOT NULL,
  count INTEGER NOT NULL,
  received INTEGER NOT NULL,
  digest BLOB NOT NULL,
  leaf BLOB NOT NULL,
  path BLOB NOT NULL,
  body BLOB NOT NULL,
  UNIQUE (stream, seq)
) STRICT;
CREATE INDEX IF NOT EXISTS entries_of_gateway ON entries (gateway, position);
CREATE TABLE IF NOT EXISTS checkpoints (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  stream INTEGER NOT NULL REFERENCES streams,
  size INTEGER NOT NULL,
  at INTEGER NOT NULL,
  frontier BLOB NOT NULL,
  note BLOB NOT NULL,
  UNIQUE (stream, size)
) STRICT;
CREATE TABLE IF NOT EXISTS evidence (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  stream INTEGER NOT NULL REFERENCES streams,
  seq INTEGER NOT NULL,
  code TEXT NOT NULL,
  at INTEGER NOT NULL,
  body BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS cursors (
  sink TEXT NOT NULL,
  gateway INTEGER NOT NULL REFERENCES gateways,
  through INTEGER NOT NULL,
  owner TEXT NOT NULL DEFAULT '',
  lease INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (sink, gateway)
) STRICT;
CREATE TABLE IF NOT EXISTS dead_letters (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  sink TEXT NOT NULL,
  position INTEGER NOT NULL REFERENCES entries,
  state TEXT NOT NULL CHECK (state IN ('parked', 'queued')),
  code TEXT NOT NULL,
  reason TEXT NOT NULL,
  at INTEGER NOT NULL,
  owner TEXT NOT NULL DEFAULT '',
  lease INTEGER NOT NULL DEFAULT 0,
  UNIQUE (sink, position)
) STRICT;
CREATE TABLE IF NOT EXISTS refused (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  at INTEGER NOT NULL,
  gateway TEXT NOT NULL,
  topic TEXT NOT NULL,
  code TEXT NOT NULL,
  size INTEGER NOT NULL,
  head BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS counters (
  gateway TEXT NOT NULL,
  name TEXT NOT NULL,
  count INTEGER NOT NULL,
  PRIMARY KEY (gateway, name)
) STRICT, WITHOUT ROWID
"""

_CLAIMS = """ALTER TABLE cursors ADD COLUMN owner TEXT NOT NULL DEFAULT '';
ALTER TABLE cursors ADD COLUMN lease INTEGER NOT NULL DEFAULT 0;
ALTER TABLE dead_letters ADD COLUMN owner TEXT NOT NULL DEFAULT '';
ALTER TABLE dead_letters ADD COLUMN lease INTEGER NOT NULL DEFAULT 0;
ALTER TABLE keys ADD COLUMN number INTEGER NOT NULL DEFAULT 0;
ALTER TABLE keys ADD COLUMN sealed_for BLOB;
UPDATE keys SET number = rowid"""

SCHEMA = Schema(
    _TABLES,
    # 1 had no checkpoints, 2 no tokens and boards, 3 no leases and no note of whom a gateway seals for, 4 no states
    version=5,
    upgrades={4: _CLAIMS},
    creates_again=True,
)
