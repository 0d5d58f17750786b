-- What happened to each message, for people. Times are milliseconds since 1970; ids begin with the time.
CREATE TABLE history (
    id         text     PRIMARY KEY,        -- the queue id
    ended      bigint,                      -- when it left the queue
    sender     text,                        -- '' is <>; null while only later steps are known
    account    text,
    message_id text,
    steps      text     NOT NULL,           -- JSON, a line each
    omitted    bigint   NOT NULL,           -- steps that had no room
    terms      bigint[] NOT NULL            -- what it is found by
);
-- The same terms, to find it by.
CREATE TABLE history_terms (
    hash bigint NOT NULL,
    id   text   NOT NULL,
    PRIMARY KEY (hash, id)
);
-- What it takes, in octets, by estimate: what each change added, summed up from time to time.
CREATE TABLE history_size (
    octets bigint NOT NULL
);
INSERT INTO signals VALUES ('history', 0);
