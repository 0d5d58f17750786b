-- What a message's application said of its trace (`traceparent`).
ALTER TABLE messages ADD COLUMN traceparent TEXT;
