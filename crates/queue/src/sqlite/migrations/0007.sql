-- Suspensions of any kind: which there are is the program's to know, and a kind that it does not know suspends nothing.
ALTER TABLE suspensions RENAME TO suspensions_before;
CREATE TABLE suspensions (
    kind   TEXT    NOT NULL,
    name   TEXT    NOT NULL,                -- lower case, but for accounts; of senders also `@domain`
    reason TEXT    NOT NULL,
    who    TEXT    NOT NULL,
    since  INTEGER NOT NULL,
    until  INTEGER,                         -- NULL: until it is resumed
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;
INSERT INTO suspensions SELECT kind, name, reason, who, since, until FROM suspensions_before;
DROP TABLE suspensions_before;
