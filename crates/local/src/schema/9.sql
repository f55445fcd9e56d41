-- Tasks name their execution by its number. Its id is a hash: in an index that begins with one, every task of another execution
-- changes a page of its own, and every page is written to the disk twice.
CREATE TABLE task_by_number (
    number                 INTEGER PRIMARY KEY,
    id                     TEXT NOT NULL,
    execution_number       INTEGER NOT NULL,     -- of history_execution
    rule                   TEXT NOT NULL,
    action                 TEXT NOT NULL,
    origin                 TEXT NOT NULL,        -- a registry's name, or a store
    source_repository      TEXT,
    is_attachment          INTEGER NOT NULL,
    source                 TEXT NOT NULL,
    destination_registry   TEXT NOT NULL,
    destination_repository TEXT,
    destination            TEXT NOT NULL,
    named                  TEXT,                 -- the digest that the event named
    job                    TEXT NOT NULL,        -- JSON; empty for tasks of the first release
    redrive_of             TEXT,                 -- the task that this one repeats
    redriven_by            TEXT,                 -- the task that repeats this one
    state                  TEXT NOT NULL,
    digest                 TEXT,
    code                   TEXT,
    message                TEXT,
    attempts               INTEGER NOT NULL DEFAULT 0,
    created                INTEGER NOT NULL,
    touched                INTEGER NOT NULL,     -- recorded, begun, or due
    next                   INTEGER,
    finished               INTEGER,
    copied                 INTEGER NOT NULL DEFAULT 0,
    mounted                INTEGER NOT NULL DEFAULT 0,
    skipped                INTEGER NOT NULL DEFAULT 0,
    UNIQUE (execution_number, id)
) STRICT;
INSERT INTO task_by_number (number, id, execution_number, rule, action, origin, source_repository, is_attachment, source,
                            destination_registry, destination_repository, destination, named, job, redrive_of, redriven_by,
                            state, digest, code, message, attempts, created, touched, next, finished, copied, mounted, skipped)
SELECT t.number, t.id, e.number, t.rule, t.action, t.origin, t.source_repository, t.is_attachment, t.source,
       t.destination_registry, t.destination_repository, t.destination, t.named, t.job, t.redrive_of, t.redriven_by,
       t.state, t.digest, t.code, t.message, t.attempts, t.created, t.touched, t.next, t.finished, t.copied, t.mounted, t.skipped
FROM history_task AS t JOIN history_execution AS e ON e.id = t.execution;
DROP TABLE history_task;
ALTER TABLE task_by_number RENAME TO history_task;
CREATE INDEX history_task_by_created ON history_task (created, number);
CREATE INDEX history_task_by_execution ON history_task (execution_number, created, number);
CREATE INDEX history_task_by_rule ON history_task (rule, created, number);
CREATE INDEX history_task_by_destination ON history_task (destination_registry, destination_repository, created, number);
CREATE INDEX history_task_open ON history_task (touched, number) WHERE state IN ('queued', 'running', 'waiting');
CREATE INDEX history_task_untouched ON history_task (origin, touched) WHERE state IN ('queued', 'running', 'waiting');
CREATE INDEX history_task_busy ON history_task (origin, source_repository)
    WHERE is_attachment = 0 AND state IN ('queued', 'running', 'waiting');
CREATE INDEX history_task_failed ON history_task (finished, number) WHERE state = 'failed';
CREATE INDEX history_task_ended ON history_task (finished) WHERE finished IS NOT NULL;

CREATE TABLE repository_by_number (
    execution_number INTEGER NOT NULL,
    registry         TEXT NOT NULL,
    repository       TEXT NOT NULL,
    PRIMARY KEY (execution_number, registry, repository)
) STRICT, WITHOUT ROWID;
INSERT INTO repository_by_number (execution_number, registry, repository)
SELECT e.number, r.registry, r.repository FROM history_repository AS r JOIN history_execution AS e ON e.id = r.execution;
DROP TABLE history_repository;
ALTER TABLE repository_by_number RENAME TO history_repository;
