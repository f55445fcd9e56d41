-- When the push was accepted whose image was written: of several sources of one tag, the last push has it.
ALTER TABLE replica ADD COLUMN accepted INTEGER NOT NULL DEFAULT 0;

-- When the message was hidden. If that is later than now, the clock was ahead, and the message is not hidden.
ALTER TABLE message ADD COLUMN hidden_since INTEGER NOT NULL DEFAULT 0;
CREATE INDEX message_by_hidden_since ON message (hidden_since) WHERE in_flight = 0;
