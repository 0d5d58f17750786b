-- The spool, version 3: what operators do to mail and say of it.

-- Who sent it after AUTH: operators find mail by it, and hold it up.
ALTER TABLE messages ADD COLUMN account TEXT;

-- Set while an operator's suspension keeps the recipient waiting: `due` is then when that ends.
ALTER TABLE recipients ADD COLUMN parked INTEGER NOT NULL DEFAULT 0;

-- What a resumption makes due. Only parked rows are in it, so that others do not pay.
CREATE INDEX recipients_parked ON recipients (message, idx) WHERE parked = 1;

-- What is not tried until an operator says so, or until then.
CREATE TABLE suspensions (
    kind   TEXT    NOT NULL CHECK (kind IN ('domain', 'sender', 'account')),
    name   TEXT    NOT NULL,                -- lower case; of senders also `@domain`
    reason TEXT    NOT NULL,
    who    TEXT    NOT NULL,
    since  INTEGER NOT NULL,
    until  INTEGER,                         -- NULL: until it is resumed
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;

-- Who changed what. Never updated.
CREATE TABLE audit (
    number  INTEGER PRIMARY KEY AUTOINCREMENT,
    at      INTEGER NOT NULL,
    who     TEXT    NOT NULL,
    peer    TEXT    NOT NULL,
    action  TEXT    NOT NULL,
    target  TEXT    NOT NULL,
    touched INTEGER NOT NULL,
    before  TEXT,                           -- JSON, secrets masked
    after   TEXT
) STRICT;
