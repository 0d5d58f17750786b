-- All that a migration may do to tables that servers of the version before are at work on, in the order in which they use them.
ALTER TABLE servers ADD COLUMN later text NOT NULL DEFAULT 'unknown';
ALTER TABLE lanes ADD COLUMN later text;
ALTER TABLE messages ADD COLUMN later text;
ALTER TABLE recipients ADD COLUMN later integer NOT NULL DEFAULT 0, SET (autovacuum_vacuum_scale_factor = 0.03);
CREATE INDEX recipients_later ON recipients (later) WHERE later > 0;
ALTER TABLE webhook_calls ADD COLUMN later text;
ALTER TABLE figures ADD COLUMN later bigint NOT NULL DEFAULT 0;
ALTER TABLE history ADD COLUMN later text;
CREATE TABLE laters (name text PRIMARY KEY, number bigint NOT NULL);
INSERT INTO signals VALUES ('later', 0);
