-- The queue. AUTOINCREMENT: an id is never used again, so a receipt never fits another message.
CREATE TABLE message (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    destination   TEXT NOT NULL,                 -- the fairness group: a registry's name
    body          TEXT NOT NULL,
    visible       INTEGER NOT NULL,              -- not to be handed out before
    receive_count INTEGER NOT NULL DEFAULT 0,
    in_flight     INTEGER NOT NULL DEFAULT 0     -- 1 from hand-out until it is given back
) STRICT;
CREATE INDEX message_by_destination ON message (destination, visible);
CREATE INDEX message_by_visible ON message (visible);
CREATE INDEX message_in_flight ON message (destination, visible) WHERE in_flight = 1;

-- The ledger.
CREATE TABLE execution (
    number  INTEGER PRIMARY KEY,
    id      TEXT NOT NULL UNIQUE,
    rule    TEXT NOT NULL,
    "trigger" TEXT NOT NULL,
    created INTEGER NOT NULL
) STRICT;
CREATE INDEX execution_by_created ON execution (created, number);

CREATE TABLE task (
    number                 INTEGER PRIMARY KEY,
    id                     TEXT NOT NULL UNIQUE,
    execution              TEXT NOT NULL,
    rule                   TEXT NOT NULL,
    action                 TEXT NOT NULL,
    source_registry        TEXT NOT NULL,
    source_repository      TEXT NOT NULL,
    source_target          TEXT NOT NULL,        -- ':tag' or '@digest'
    destination_registry   TEXT NOT NULL,
    destination_repository TEXT NOT NULL,
    destination_target     TEXT NOT NULL,
    follows                INTEGER NOT NULL,     -- 1: a referrer, which goes where its image went
    digest                 TEXT,
    state                  TEXT NOT NULL,
    code                   TEXT,
    message                TEXT,
    attempts               INTEGER NOT NULL DEFAULT 0,
    created                INTEGER NOT NULL,
    next                   INTEGER,
    finished               INTEGER,
    copied                 INTEGER NOT NULL DEFAULT 0,
    mounted                INTEGER NOT NULL DEFAULT 0,
    skipped                INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX task_by_created ON task (created, number);
CREATE INDEX task_by_execution ON task (execution, created, number);
CREATE INDEX task_by_state ON task (state, created, number);
CREATE INDEX task_open ON task (source_registry, source_repository)
    WHERE follows = 0 AND state IN ('queued', 'running', 'waiting');

CREATE TABLE replica (
    number                 INTEGER PRIMARY KEY,
    destination_registry   TEXT NOT NULL,
    destination_repository TEXT NOT NULL,
    destination_target     TEXT NOT NULL,
    source_registry        TEXT NOT NULL,
    source_repository      TEXT NOT NULL,
    source_target          TEXT NOT NULL,
    digest                 TEXT NOT NULL,
    rule                   TEXT NOT NULL,
    written                INTEGER NOT NULL,
    UNIQUE (destination_registry, destination_repository, destination_target)
) STRICT;

CREATE TABLE replica_digest (
    replica  INTEGER NOT NULL REFERENCES replica (number) ON DELETE CASCADE,
    role     TEXT NOT NULL CHECK (role IN ('manifest', 'earlier')),
    position INTEGER NOT NULL,
    digest   TEXT NOT NULL,
    PRIMARY KEY (replica, role, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX replica_by_manifest ON replica_digest (digest) WHERE role = 'manifest';

-- What workers agree on.
CREATE TABLE lease (
    key     TEXT PRIMARY KEY,
    holder  TEXT NOT NULL,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The larger the number, the later it was seen.
CREATE TABLE location (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    host       TEXT NOT NULL,
    digest     TEXT NOT NULL,
    repository TEXT NOT NULL,
    UNIQUE (host, digest, repository)
) STRICT;

CREATE TABLE pause (
    host    TEXT PRIMARY KEY,
    "until" INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
