-- The user id of the bot whose subscription it is, and which alone it is about; 0: it is nobody's.
ALTER TABLE subscription ADD COLUMN bot INTEGER NOT NULL DEFAULT 0;
