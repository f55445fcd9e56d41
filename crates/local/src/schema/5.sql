-- What the job of a message reads: the workers are shared between sources, too. Empty if it reads nothing, or if it was sent
-- by an older release.
ALTER TABLE message ADD COLUMN source TEXT NOT NULL DEFAULT '';
DROP INDEX message_by_destination;
CREATE INDEX message_by_peers ON message (destination, source, visible);
