-- Deliveries that do not count, because the process that received the message stopped as asked.
ALTER TABLE message ADD COLUMN forgiven INTEGER NOT NULL DEFAULT 0;
-- 1: a process ended, or a job panicked, while this message was the only one in flight.
ALTER TABLE message ADD COLUMN ended_alone INTEGER NOT NULL DEFAULT 0;
