-- Once more, in the order that servers use these tables in.
ALTER TABLE messages ADD COLUMN latest text;
ALTER TABLE recipients ADD COLUMN latest boolean NOT NULL DEFAULT false;
ALTER TABLE suspensions ADD COLUMN latest text;
