-- Times are milliseconds since 1970.
CREATE TABLE messages (
    key         bigint   GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
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
    message_id  text
);
-- Contents, in pieces: a small one is one.
CREATE TABLE bodies (
    message bigint  NOT NULL,
    number  integer NOT NULL,
    content bytea   NOT NULL,
    PRIMARY KEY (message, number)
);
-- Mail does not compress well, and compressing it takes the database's time.
ALTER TABLE bodies ALTER COLUMN content SET STORAGE EXTERNAL;
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
CREATE INDEX recipients_due ON recipients (due) INCLUDE (domain) WHERE state <= 2;
CREATE INDEX recipients_parked ON recipients (message, idx) WHERE parked;
CREATE INDEX recipients_leased ON recipients (owner) WHERE state = 1;
-- Servers that share this queue.
CREATE TABLE servers (
    id   uuid   PRIMARY KEY,
    name text   NOT NULL,
    seen bigint NOT NULL                    -- by the clock of the database
);
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
