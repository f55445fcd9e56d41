-- The task as it was sent, to be sent again; null for tasks of an older release.
ALTER TABLE task ADD COLUMN body TEXT;
-- When it was last touched: recorded, begun, or due.
ALTER TABLE task ADD COLUMN touched INTEGER NOT NULL DEFAULT 0;
UPDATE task SET touched = COALESCE(next, created);
CREATE INDEX task_unfinished ON task (source_registry, touched) WHERE state IN ('queued', 'running', 'waiting');

-- Uploads under way. A location is a capability: it leaves this table only as a request.
CREATE TABLE continuation (
    task     TEXT NOT NULL,
    digest   TEXT NOT NULL,
    location TEXT NOT NULL,
    "offset" INTEGER NOT NULL,
    hash     BLOB NOT NULL,
    hops     INTEGER NOT NULL,
    expires  INTEGER NOT NULL,
    PRIMARY KEY (task, digest)
) STRICT, WITHOUT ROWID;
