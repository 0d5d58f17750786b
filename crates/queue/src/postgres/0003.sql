-- Servers as operators see them.
ALTER TABLE servers
    ADD COLUMN version  text    NOT NULL DEFAULT '',
    ADD COLUMN started  bigint,                         -- by the clock of the database; null: by a version that does not say
    ADD COLUMN draining boolean NOT NULL DEFAULT false;
INSERT INTO signals VALUES ('suspensions', 0);
