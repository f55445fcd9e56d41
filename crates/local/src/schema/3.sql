-- The history of executions and tasks. What an execution shows is counted here, in the transaction that changes a task.
CREATE TABLE history_execution (
    number       INTEGER PRIMARY KEY,
    id           TEXT NOT NULL UNIQUE,
    rule         TEXT NOT NULL,
    "trigger"    TEXT NOT NULL,
    created      INTEGER NOT NULL,
    total        INTEGER NOT NULL DEFAULT 0,     -- tasks
    terminal     INTEGER NOT NULL DEFAULT 0,     -- tasks that ended
    succeeded    INTEGER NOT NULL DEFAULT 0,     -- tasks that ended well
    repositories INTEGER NOT NULL DEFAULT 0,     -- rows of history_repository
    bytes        INTEGER NOT NULL DEFAULT 0,
    last         INTEGER                         -- when the last task ended
) STRICT;
CREATE INDEX history_execution_by_created ON history_execution (created, number);
CREATE INDEX history_execution_by_rule ON history_execution (rule, created, number);
CREATE INDEX history_execution_ended ON history_execution (last) WHERE terminal >= total;

-- The destination repositories of an execution.
CREATE TABLE history_repository (
    execution  TEXT NOT NULL,
    registry   TEXT NOT NULL,
    repository TEXT NOT NULL,
    PRIMARY KEY (execution, registry, repository)
) STRICT, WITHOUT ROWID;

CREATE TABLE history_task (
    number                 INTEGER PRIMARY KEY,
    id                     TEXT NOT NULL,
    execution              TEXT NOT NULL,
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
    UNIQUE (execution, id)
) STRICT;
CREATE INDEX history_task_by_created ON history_task (created, number);
CREATE INDEX history_task_by_execution ON history_task (execution, created, number);
CREATE INDEX history_task_by_rule ON history_task (rule, created, number);
CREATE INDEX history_task_by_destination ON history_task (destination_registry, destination_repository, created, number);
CREATE INDEX history_task_open ON history_task (touched, number) WHERE state IN ('queued', 'running', 'waiting');
CREATE INDEX history_task_untouched ON history_task (origin, touched) WHERE state IN ('queued', 'running', 'waiting');
CREATE INDEX history_task_busy ON history_task (origin, source_repository)
    WHERE is_attachment = 0 AND state IN ('queued', 'running', 'waiting');
CREATE INDEX history_task_failed ON history_task (finished, number) WHERE state = 'failed';
CREATE INDEX history_task_ended ON history_task (finished) WHERE finished IS NOT NULL;

-- Values that expire and may be lost.
CREATE TABLE hint (
    family  TEXT NOT NULL,
    name    TEXT NOT NULL,
    value   TEXT NOT NULL,
    expires INTEGER NOT NULL,
    PRIMARY KEY (family, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX hint_by_expires ON hint (expires);

-- Versioned values that do not expire.
CREATE TABLE record (
    family  TEXT NOT NULL,
    name    TEXT NOT NULL,
    value   TEXT NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (family, name)
) STRICT, WITHOUT ROWID;

-- The worker that may write the destination, until when.
ALTER TABLE replica ADD COLUMN holder TEXT;
ALTER TABLE replica ADD COLUMN "until" INTEGER;

-- What the release before this one recorded. Its tasks are sent again as they are: their JSON is still understood.
INSERT INTO history_task (number, id, execution, rule, action, origin, source_repository, is_attachment, source,
                          destination_registry, destination_repository, destination, named, job, state, digest, code, message,
                          attempts, created, touched, next, finished, copied, mounted, skipped)
SELECT number, id, execution, rule, action, source_registry,
       CASE WHEN source_registry LIKE 's3://%' THEN NULL ELSE source_repository END, follows,
       source_registry || '/' || source_repository || source_target,
       destination_registry,
       CASE WHEN destination_target = ':_' THEN NULL ELSE destination_repository END,
       destination_registry || '/' || destination_repository || destination_target,
       CASE WHEN finished IS NULL THEN digest END, coalesce(body, ''), state, digest, code, message,
       attempts, created, touched, next, finished, copied, mounted, skipped
FROM task;

INSERT INTO history_repository (execution, registry, repository)
SELECT DISTINCT execution, destination_registry, destination_repository FROM history_task
WHERE destination_repository IS NOT NULL;

INSERT INTO history_execution (number, id, rule, "trigger", created, total, terminal, succeeded, repositories, bytes, last)
SELECT e.number, e.id, e.rule, e."trigger", e.created, count(t.id), count(t.finished),
       count(t.id) FILTER (WHERE t.state IN ('succeeded', 'unchanged', 'kept', 'skipped')),
       (SELECT count(*) FROM history_repository AS r WHERE r.execution = e.id),
       coalesce(sum(t.copied + t.mounted), 0), max(t.finished)
FROM execution AS e LEFT JOIN history_task AS t ON t.execution = e.id
GROUP BY e.number;

-- Ninety days from now, as for a location that is seen now.
INSERT INTO hint (family, name, value, expires)
SELECT 'B#' || host || '#' || digest, 'B', json_group_array(repository), (unixepoch() + 90 * 86400) * 1000
FROM (SELECT host, digest, repository FROM location ORDER BY host, digest, number DESC)
GROUP BY host, digest;
INSERT INTO hint (family, name, value, expires)
SELECT 'P#' || host, 'P', CAST("until" AS TEXT), "until" FROM pause;

DROP TABLE continuation;
DROP TABLE lease;
DROP TABLE location;
DROP TABLE pause;
DROP TABLE task;
DROP TABLE execution;
-- Until now, waits of a message counted as receipts. From now on, only the ends of its workers count.
UPDATE message SET receive_count = 0;
