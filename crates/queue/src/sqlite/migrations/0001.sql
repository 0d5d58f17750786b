-- The spool, version 1.
--
-- A message is one row here, one row in `bodies` (or a file, when it is large) and one row per recipient.
-- Rows of `messages` and `bodies` are written once and never updated; what changes is in `recipients`.
-- `bodies` stands apart so that counting and listing messages does not read their contents.
-- Times are milliseconds since 1970. Keys are never used twice while a process runs.

CREATE TABLE spool (
    -- The mark that tells this database's body files from those of another, or of an older copy: a new one at every start.
    id BLOB NOT NULL
) STRICT;

CREATE TABLE messages (
    key         INTEGER PRIMARY KEY,
    id          BLOB    NOT NULL UNIQUE,
    received_at INTEGER NOT NULL,
    sender      TEXT    NOT NULL,           -- '' is <>
    size        INTEGER NOT NULL,
    in_file     INTEGER NOT NULL,           -- 0: in bodies, 1: bodies/xx/ID
    body_type   INTEGER NOT NULL,           -- 0: 7BIT, 1: 8BITMIME, 2: BINARYMIME
    smtputf8    INTEGER NOT NULL,
    has_8bit    INTEGER NOT NULL,
    header_8bit INTEGER NOT NULL,
    ret         INTEGER,                    -- 0: FULL, 1: HDRS
    envid       TEXT,
    origin      TEXT    NOT NULL
) STRICT;

CREATE TABLE bodies (
    message INTEGER PRIMARY KEY,
    content BLOB NOT NULL
) STRICT;

CREATE TABLE recipients (
    message        INTEGER NOT NULL,
    idx            INTEGER NOT NULL,
    address        TEXT    NOT NULL,
    domain         TEXT    NOT NULL,        -- of the address, lower case
    notify         INTEGER,
    orcpt          TEXT,
    state          INTEGER NOT NULL,        -- 0 queued, 1 leased, 2 deferred, 3 held,
                                            -- 4 delivered, 5 bounced, 6 expired, 7 quarantined
    attempts       INTEGER NOT NULL,
    due            INTEGER NOT NULL,        -- of a leased one: when its lease ends
    epoch          INTEGER NOT NULL,        -- grows with every claim
    delay_notified INTEGER NOT NULL,
    last_result    TEXT,
    PRIMARY KEY (message, idx)
) STRICT, WITHOUT ROWID;

-- What is due, and whose lease ended: one question. Domain and state are here so that a claim
-- passes over unwanted domains without touching their rows.
CREATE INDEX recipients_due ON recipients (due, domain, state) WHERE state <= 2;
