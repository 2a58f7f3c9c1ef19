-- The log's partitions: whose turn it is to add, and where the log ends. Every transaction that adds
-- messages, or changes groups and members, changes its row only as it expects to find it.
CREATE TABLE part (
    part     INTEGER PRIMARY KEY,
    tenure   INTEGER NOT NULL,
    last_seq INTEGER NOT NULL
);
INSERT INTO part (part, tenure, last_seq)
    VALUES (0, 0, (SELECT coalesce(max(seq), 0) FROM message));
