-- Ids are text as people see them. Times are seconds since the Unix epoch unless they end in _ms.
-- Customers and groups are marked as deleted, never erased: agents refer to them, and ids are never used again.

CREATE TABLE settings (
    key TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE customers (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    created_s INTEGER NOT NULL,
    deleted_s INTEGER
) STRICT;
CREATE UNIQUE INDEX customers_by_name ON customers (name) WHERE deleted_s IS NULL;

CREATE TABLE groups (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    customer TEXT REFERENCES customers (id),
    created_s INTEGER NOT NULL,
    deleted_s INTEGER,
    generation INTEGER NOT NULL DEFAULT 1,
    -- The one agent that may start the group's log, until founded.
    founder TEXT REFERENCES agents (id),
    founded INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX groups_by_name ON groups (coalesce(customer, ''), name) WHERE deleted_s IS NULL;

CREATE TABLE tokens (
    id TEXT NOT NULL PRIMARY KEY,
    group_id TEXT NOT NULL REFERENCES groups (id),
    customer TEXT REFERENCES customers (id),
    created_s INTEGER NOT NULL,
    expires_s INTEGER NOT NULL,
    -- NULL for any number.
    max_uses INTEGER,
    uses INTEGER NOT NULL DEFAULT 0,
    generation INTEGER NOT NULL,
    revoked_s INTEGER
) STRICT;
CREATE INDEX tokens_by_group ON tokens (group_id);

CREATE TABLE agents (
    id TEXT NOT NULL PRIMARY KEY,
    group_id TEXT NOT NULL REFERENCES groups (id),
    name TEXT NOT NULL,
    -- What it enrolled with; the same again is the same agent.
    token TEXT NOT NULL REFERENCES tokens (id),
    key_hash BLOB NOT NULL,
    serial TEXT NOT NULL DEFAULT '',
    not_after_s INTEGER NOT NULL DEFAULT 0,
    peer_address TEXT NOT NULL DEFAULT '',
    version TEXT NOT NULL,
    enrolled_s INTEGER NOT NULL,
    revoked_s INTEGER,
    UNIQUE (token, key_hash)
) STRICT;
CREATE INDEX agents_by_group ON agents (group_id);

CREATE TABLE revocations (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    agent TEXT NOT NULL UNIQUE REFERENCES agents (id),
    at_s INTEGER NOT NULL
) STRICT;

CREATE TABLE listeners (
    group_id TEXT NOT NULL REFERENCES groups (id),
    resource TEXT NOT NULL,
    address TEXT NOT NULL UNIQUE,
    PRIMARY KEY (group_id, resource)
) STRICT;

CREATE TABLE users (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    role TEXT NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    token_hash BLOB NOT NULL UNIQUE,
    created_s INTEGER NOT NULL
) STRICT;

CREATE TABLE audit (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms INTEGER NOT NULL,
    who TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    outcome TEXT NOT NULL
) STRICT;
