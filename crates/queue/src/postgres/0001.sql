-- Times are milliseconds since 1970.
-- Keys are drawn by the statement that stores a message. They grow with time, though not strictly: servers draw them in turns.
CREATE SEQUENCE message_keys;
CREATE TABLE messages (
    key         bigint   PRIMARY KEY,
    id          bytea    NOT NULL UNIQUE,
    received_at bigint   NOT NULL,
    sender      text     NOT NULL,          -- '' is <>
    size        bigint   NOT NULL,
    body_type   smallint NOT NULL,
    smtputf8    boolean  NOT NULL,
    has_8bit    boolean  NOT NULL,
    header_8bit boolean  NOT NULL,
    ret         smallint,
    envid       text,
    origin      text     NOT NULL,
    account     text,
    traceparent text,
    message_id  text,
    content     bytea                       -- null: a large one, in pieces
);
-- Mail does not compress well, and compressing it takes the database's time. Most of it fits on a page of its table.
ALTER TABLE messages ALTER COLUMN content SET STORAGE EXTERNAL, SET (toast_tuple_target = 8160);
-- Large contents, in pieces. They are written before their message is, so that none is ever held whole.
CREATE TABLE bodies (
    message bigint  NOT NULL,
    number  integer NOT NULL,
    content bytea   NOT NULL,
    PRIMARY KEY (message, number)
);
ALTER TABLE bodies ALTER COLUMN content SET STORAGE EXTERNAL;
-- Contents whose message is not there yet.
CREATE TABLE uploads (
    message bigint PRIMARY KEY,
    server  uuid   NOT NULL,                -- whose
    begun   bigint NOT NULL                 -- by the clock of the database
);
CREATE TABLE recipients (
    message        bigint   NOT NULL,
    idx            integer  NOT NULL,
    address        text     NOT NULL,
    domain         text     NOT NULL,       -- lower case
    notify         smallint,
    orcpt          text,
    state          smallint NOT NULL,
    attempts       integer  NOT NULL,
    due            bigint   NOT NULL,       -- of a leased one: when the lease ends
    epoch          bigint   NOT NULL,
    owner          uuid,                    -- the server that holds the lease
    delay_notified boolean  NOT NULL,
    last_result    text,
    parked         boolean  NOT NULL,
    PRIMARY KEY (message, idx)
);
-- What is claimed next is found in the index alone.
CREATE INDEX recipients_due ON recipients (due) INCLUDE (domain, message, idx) WHERE state <= 2;
CREATE INDEX recipients_unclaimed ON recipients (due) WHERE state IN (0, 2);
CREATE INDEX recipients_parked ON recipients (message, idx) WHERE parked;
CREATE INDEX recipients_leased ON recipients (owner) WHERE state = 1;
-- Tables whose rows live for seconds: what is dead is cleared away early, and at once.
ALTER TABLE messages SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0,
                          autovacuum_vacuum_insert_scale_factor = 0.1);
ALTER TABLE recipients SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0,
                            autovacuum_vacuum_insert_scale_factor = 0.1);
ALTER TABLE bodies SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0);
-- Servers that share this queue.
CREATE TABLE servers (
    id   uuid   PRIMARY KEY,
    name text   NOT NULL,
    seen bigint NOT NULL                    -- by the clock of the database
);
-- Each server writes by a few lanes, one change after the other in each. The number of the last one is stored with it: so whoever lost the
-- answer to a COMMIT learns from it what became of the change, and a change that comes late changes nothing.
CREATE TABLE lanes (
    server uuid     NOT NULL REFERENCES servers ON DELETE CASCADE,
    number smallint NOT NULL,
    last   bigint   NOT NULL,
    PRIMARY KEY (server, number)
) WITH (fillfactor = 10, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);
-- What servers tell each other: how often it was said.
CREATE TABLE signals (
    name   text   PRIMARY KEY,
    number bigint NOT NULL
);
INSERT INTO signals VALUES ('reload', 0), ('figures', 0);
-- The queue's figures, so that nobody counts it: each change adds a row, and a server sums them up from time to time. No two changes wait for
-- each other.
CREATE TABLE figures (
    messages    bigint NOT NULL DEFAULT 0,
    octets      bigint NOT NULL DEFAULT 0,
    queued      bigint NOT NULL DEFAULT 0,
    leased      bigint NOT NULL DEFAULT 0,
    deferred    bigint NOT NULL DEFAULT 0,
    held        bigint NOT NULL DEFAULT 0,
    delivered   bigint NOT NULL DEFAULT 0,
    bounced     bigint NOT NULL DEFAULT 0,
    expired     bigint NOT NULL DEFAULT 0,
    quarantined bigint NOT NULL DEFAULT 0
) WITH (autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 0);
CREATE FUNCTION smtp_messages_added() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO figures (messages, octets) SELECT count(*), sum(size) FROM added HAVING count(*) > 0;
    RETURN NULL;
END $$;
CREATE FUNCTION smtp_messages_removed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO figures (messages, octets) SELECT -count(*), -sum(size) FROM removed HAVING count(*) > 0;
    RETURN NULL;
END $$;
CREATE FUNCTION smtp_recipients_added() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO figures (queued, leased, deferred, held, delivered, bounced, expired, quarantined)
    SELECT * FROM (SELECT coalesce(sum(n) FILTER (WHERE state = 0), 0) AS queued,
                   coalesce(sum(n) FILTER (WHERE state = 1), 0) AS leased,
                   coalesce(sum(n) FILTER (WHERE state = 2), 0) AS deferred,
                   coalesce(sum(n) FILTER (WHERE state = 3), 0) AS held,
                   coalesce(sum(n) FILTER (WHERE state = 4), 0) AS delivered,
                   coalesce(sum(n) FILTER (WHERE state = 5), 0) AS bounced,
                   coalesce(sum(n) FILTER (WHERE state = 6), 0) AS expired,
                   coalesce(sum(n) FILTER (WHERE state = 7), 0) AS quarantined
                   FROM (SELECT state, 1 AS n FROM added) AS moved) AS changed
    WHERE (queued, leased, deferred, held, delivered, bounced, expired, quarantined) <> (0, 0, 0, 0, 0, 0, 0, 0);
    RETURN NULL;
END $$;
CREATE FUNCTION smtp_recipients_removed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO figures (queued, leased, deferred, held, delivered, bounced, expired, quarantined)
    SELECT * FROM (SELECT coalesce(sum(n) FILTER (WHERE state = 0), 0) AS queued,
                   coalesce(sum(n) FILTER (WHERE state = 1), 0) AS leased,
                   coalesce(sum(n) FILTER (WHERE state = 2), 0) AS deferred,
                   coalesce(sum(n) FILTER (WHERE state = 3), 0) AS held,
                   coalesce(sum(n) FILTER (WHERE state = 4), 0) AS delivered,
                   coalesce(sum(n) FILTER (WHERE state = 5), 0) AS bounced,
                   coalesce(sum(n) FILTER (WHERE state = 6), 0) AS expired,
                   coalesce(sum(n) FILTER (WHERE state = 7), 0) AS quarantined
                   FROM (SELECT state, -1 AS n FROM removed) AS moved) AS changed
    WHERE (queued, leased, deferred, held, delivered, bounced, expired, quarantined) <> (0, 0, 0, 0, 0, 0, 0, 0);
    RETURN NULL;
END $$;
CREATE FUNCTION smtp_recipients_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO figures (queued, leased, deferred, held, delivered, bounced, expired, quarantined)
    SELECT * FROM (SELECT coalesce(sum(n) FILTER (WHERE state = 0), 0) AS queued,
                   coalesce(sum(n) FILTER (WHERE state = 1), 0) AS leased,
                   coalesce(sum(n) FILTER (WHERE state = 2), 0) AS deferred,
                   coalesce(sum(n) FILTER (WHERE state = 3), 0) AS held,
                   coalesce(sum(n) FILTER (WHERE state = 4), 0) AS delivered,
                   coalesce(sum(n) FILTER (WHERE state = 5), 0) AS bounced,
                   coalesce(sum(n) FILTER (WHERE state = 6), 0) AS expired,
                   coalesce(sum(n) FILTER (WHERE state = 7), 0) AS quarantined
                   FROM (SELECT state, 1 AS n FROM added UNION ALL SELECT state, -1 FROM removed) AS moved) AS changed
    WHERE (queued, leased, deferred, held, delivered, bounced, expired, quarantined) <> (0, 0, 0, 0, 0, 0, 0, 0);
    RETURN NULL;
END $$;
CREATE TRIGGER added AFTER INSERT ON messages REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION smtp_messages_added();
CREATE TRIGGER removed AFTER DELETE ON messages REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION smtp_messages_removed();
CREATE TRIGGER added AFTER INSERT ON recipients REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION smtp_recipients_added();
CREATE TRIGGER removed AFTER DELETE ON recipients REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION smtp_recipients_removed();
CREATE TRIGGER changed AFTER UPDATE ON recipients REFERENCING NEW TABLE AS added OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION smtp_recipients_changed();
CREATE TABLE suspensions (
    kind   text   NOT NULL,
    name   text   NOT NULL,
    reason text   NOT NULL,
    who    text   NOT NULL,
    since  bigint NOT NULL,
    until  bigint,
    PRIMARY KEY (kind, name)
);
CREATE TABLE audit (
    number  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      bigint NOT NULL,
    who     text   NOT NULL,
    peer    text   NOT NULL,
    action  text   NOT NULL,
    target  text   NOT NULL,
    touched bigint NOT NULL,
    before  text,
    after   text
);
CREATE TABLE api_tokens (
    name       text   PRIMARY KEY,
    hash       bytea  NOT NULL,
    scope      text   NOT NULL,
    created    bigint NOT NULL,
    created_by text   NOT NULL,
    expires    bigint
);
CREATE TABLE directory (
    revision bigint NOT NULL,
    secret   bytea  NOT NULL
);
-- 32 octets that nobody can guess: of the database's own random source, twice.
INSERT INTO directory (revision, secret) VALUES (0, uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()));
CREATE TABLE directory_records (
    kind  text NOT NULL,
    name  text NOT NULL,
    value text NOT NULL,
    PRIMARY KEY (kind, name)
);
CREATE TABLE webhook_calls (
    key     bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    webhook text    NOT NULL,
    event   bytea   NOT NULL,
    created bigint  NOT NULL,
    due     bigint  NOT NULL,
    tries   integer NOT NULL,
    owner   uuid,                           -- the server that claimed it
    body    text    NOT NULL
);
CREATE INDEX webhook_calls_due ON webhook_calls (webhook, due, key);
CREATE INDEX webhook_calls_claimed ON webhook_calls (owner) WHERE owner IS NOT NULL;
