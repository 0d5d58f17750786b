-- The wrong way round: servers use messages before recipients. So they wait for the migration and it for them, the database breaks them off,
-- and what they were at is done again.
ALTER TABLE recipients ADD COLUMN latest boolean NOT NULL DEFAULT false;
ALTER TABLE messages ADD COLUMN latest text;
