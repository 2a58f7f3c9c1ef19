-- Subscriptions: receivers that are told over HTTP of what is stored. How far each has come is the position of
-- the follower subscription-<id>. kinds, of_groups, of_senders: words with spaces between; none = all of them.
-- former_secret: signs beside the other one until former_until.
CREATE TABLE subscription (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    url           TEXT NOT NULL,
    label         TEXT NOT NULL,
    kinds         TEXT NOT NULL,
    of_groups     TEXT NOT NULL,
    of_senders    TEXT NOT NULL,
    secret        TEXT NOT NULL,
    former_secret TEXT NOT NULL,
    former_until  INTEGER NOT NULL,
    created       INTEGER NOT NULL,
    made_by       TEXT NOT NULL
);

-- Deliveries: the part of the log behind after up to through, as one receiver was told of it. A row is there
-- before the first attempt, so that what was cut short comes again under the same id. state 0: being
-- delivered, 1: delivered, 2: given up, 3: to be delivered again. first, last: of the attempts.
CREATE TABLE delivery (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    subscription INTEGER NOT NULL,
    state        INTEGER NOT NULL,
    after        INTEGER NOT NULL,
    through      INTEGER NOT NULL,
    events       INTEGER NOT NULL,
    tries        INTEGER NOT NULL,
    first        INTEGER NOT NULL,
    last         INTEGER NOT NULL,
    status       INTEGER NOT NULL,
    answer       TEXT NOT NULL
);
CREATE INDEX delivery_by_state ON delivery (subscription, state, id);
