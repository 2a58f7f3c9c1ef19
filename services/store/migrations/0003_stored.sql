-- Bytes of messages that a user has stored and not earned again, as of a time (unix seconds): only of
-- people who have stored much lately.
CREATE TABLE stored_level (
    user  INTEGER PRIMARY KEY,
    bytes INTEGER NOT NULL,
    at    INTEGER NOT NULL
);
