-- Processes that share the store: each counts its beat on while it is there.
CREATE TABLE IF NOT EXISTS replica (
    name     VARBINARY(255) NOT NULL,
    instance BIGINT UNSIGNED NOT NULL,
    beat     BIGINT UNSIGNED NOT NULL,
    at       INT UNSIGNED NOT NULL,
    PRIMARY KEY (name)
);

-- Every taking of the log: by whom, and behind which message. Whoever has it is in the row of the partition's epoch, unless
-- it was given up.
CREATE TABLE IF NOT EXISTS tenure (
    part     SMALLINT UNSIGNED NOT NULL,
    epoch    BIGINT UNSIGNED NOT NULL,
    name     VARBINARY(255) NOT NULL,
    instance BIGINT UNSIGNED NOT NULL,
    from_seq BIGINT UNSIGNED NOT NULL,
    given    TINYINT UNSIGNED NOT NULL,
    PRIMARY KEY (part, epoch)
);
