-- Which fold last touched a cell, so that a process which keeps cells in memory asks only for those that changed. Folds are made one at a time,
-- under a lease, and number themselves in the order of their commits: a snapshot that shows a number shows all cells up to it.
CREATE TABLE events.folds (
    name text PRIMARY KEY,
    number bigint NOT NULL
);
INSERT INTO events.folds (name, number) VALUES ('cells', 0);

ALTER TABLE events.cells ADD COLUMN fold bigint NOT NULL DEFAULT 0;
CREATE INDEX cells_fold ON events.cells (fold);
