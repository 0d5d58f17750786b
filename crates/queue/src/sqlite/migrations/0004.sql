-- The spool, version 4: tokens of the admin API that are made at run time.

CREATE TABLE api_tokens (
    name       TEXT    NOT NULL PRIMARY KEY,
    hash       BLOB    NOT NULL UNIQUE,     -- SHA-256 of the token, which is 32 random octets or more
    scope      TEXT    NOT NULL,
    created    INTEGER NOT NULL,
    created_by TEXT    NOT NULL,
    expires    INTEGER                      -- NULL: until it is revoked
) STRICT, WITHOUT ROWID;
