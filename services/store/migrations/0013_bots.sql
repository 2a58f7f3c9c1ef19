-- Kinds of accounts. 0: a person; 1: a bot, which shows a token to the HTTP API and has no password; 2: a bot
-- that was removed.
ALTER TABLE account ADD COLUMN kind INTEGER NOT NULL DEFAULT 0;
CREATE INDEX account_of_bots ON account (name) WHERE kind = 1;

-- The user id of the bot whose token it is; 0: it is nobody's account.
ALTER TABLE api_token ADD COLUMN bot INTEGER NOT NULL DEFAULT 0;
CREATE INDEX api_token_of_bots ON api_token (bot) WHERE bot <> 0;

-- Links that clients show to everybody.
CREATE TABLE discovery_item (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    name     TEXT NOT NULL,
    url      TEXT NOT NULL,
    priority INTEGER NOT NULL,
    created  INTEGER NOT NULL,
    updated  INTEGER NOT NULL
);
