-- What webhooks are still to be told: a row for each event and webhook. Times are milliseconds since 1970.
CREATE TABLE webhook_calls (
    key     INTEGER PRIMARY KEY,
    webhook TEXT    NOT NULL,   -- its name in the configuration
    event   BLOB    NOT NULL,   -- the event's id, the same for every webhook
    created INTEGER NOT NULL,
    due     INTEGER NOT NULL,   -- of the next try; while it is claimed, when the claim ends
    tries   INTEGER NOT NULL,   -- begun; a result of an earlier one changes nothing
    claimed INTEGER NOT NULL,
    body    TEXT    NOT NULL
) STRICT;
CREATE INDEX webhook_calls_due ON webhook_calls (webhook, due);
-- By which its application knows a message.
ALTER TABLE messages ADD COLUMN message_id TEXT;
