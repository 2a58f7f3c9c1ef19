-- What was changed beside messages, for receivers of subscriptions: written by the triggers below, so in the
-- transaction of the change, whoever makes it. what 1: a group, 2: a person, 3: a department, by id; value: the
-- version of the group, the directory stamp of the others.
CREATE TABLE change_log (
    seq   INTEGER PRIMARY KEY AUTOINCREMENT,
    at    INTEGER NOT NULL,
    what  INTEGER NOT NULL,
    id    INTEGER NOT NULL,
    value INTEGER NOT NULL
);
CREATE TRIGGER group_made AFTER INSERT ON chat_group BEGIN
    INSERT INTO change_log (at, what, id, value) VALUES (unixepoch(), 1, NEW.id, NEW.version);
END;
CREATE TRIGGER group_changed AFTER UPDATE OF version ON chat_group WHEN NEW.version <> OLD.version BEGIN
    INSERT INTO change_log (at, what, id, value) VALUES (unixepoch(), 1, NEW.id, NEW.version);
END;
CREATE TRIGGER person_made AFTER INSERT ON account BEGIN
    INSERT INTO change_log (at, what, id, value) VALUES (unixepoch(), 2, NEW.id, NEW.stamp);
END;
CREATE TRIGGER person_changed AFTER UPDATE OF stamp ON account WHEN NEW.stamp <> OLD.stamp BEGIN
    INSERT INTO change_log (at, what, id, value) VALUES (unixepoch(), 2, NEW.id, NEW.stamp);
END;
CREATE TRIGGER department_made AFTER INSERT ON department BEGIN
    INSERT INTO change_log (at, what, id, value) VALUES (unixepoch(), 3, NEW.id, NEW.stamp);
END;
CREATE TRIGGER department_changed AFTER UPDATE OF stamp ON department WHEN NEW.stamp <> OLD.stamp BEGIN
    INSERT INTO change_log (at, what, id, value) VALUES (unixepoch(), 3, NEW.id, NEW.stamp);
END;

-- Each subscription has a place in this log too: the position of the follower subscription-<id>-changes. A
-- delivery is about a part of one of the two. log 0: messages, 1: changes.
ALTER TABLE delivery ADD COLUMN log INTEGER NOT NULL DEFAULT 0;
INSERT INTO follower (name, part, epoch, position)
    SELECT 'subscription-' || id || '-changes', 0, 1, 0 FROM subscription;
