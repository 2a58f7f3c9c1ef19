-- Ids that a restore skipped, because clients may hold messages under them that the backup did not know:
-- no message of the conversation has one above `after` up to `through`. `after` is its newest id at that time.
CREATE TABLE id_gap (
    conv    INTEGER NOT NULL,
    after   INTEGER NOT NULL,
    through INTEGER NOT NULL,
    PRIMARY KEY (conv, after)
) WITHOUT ROWID;

-- Ids that a conversation skips which starts now, and the greatest number that a group may have had.
INSERT INTO meta (name, value) VALUES ('skipped_ids', 0), ('greatest_group', 0);
