-- The task that a task repeats, and the task that repeats it.
ALTER TABLE history_task ADD COLUMN redrive_of TEXT;
ALTER TABLE history_task ADD COLUMN redriven_by TEXT;

-- Tasks that were cancelled.
ALTER TABLE history_execution ADD COLUMN cancelled INTEGER NOT NULL DEFAULT 0;
UPDATE history_execution SET cancelled =
    (SELECT count(*) FROM history_task AS t WHERE t.execution = history_execution.id AND t.state = 'cancelled');
