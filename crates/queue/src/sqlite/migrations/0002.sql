-- The spool, version 2: the directory, as crate `smtp-directory` keeps what is made at run time.
--
-- A record is a name and a text: everything is loaded into memory at once, and nothing is ever asked by what an
-- object holds, so there are no columns for it. What the JSON may hold is checked in one place for every database, and a new
-- field is no migration. Values hold password hashes and private keys: this file is readable by its owner only.

CREATE TABLE directory_records (
    kind  TEXT NOT NULL CHECK (kind IN ('domain', 'account', 'alias', 'dkim_key')),
    name  TEXT NOT NULL,                    -- lower case, domains as A-labels
    value TEXT NOT NULL,                    -- JSON
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;

-- One row.
CREATE TABLE directory (
    revision INTEGER NOT NULL,              -- grows with every change
    secret   BLOB    NOT NULL               -- 32 random octets, never changed
) STRICT;

INSERT INTO directory (revision, secret) VALUES (0, randomblob(32));
