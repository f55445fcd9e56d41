-- What the image at the source became, if only some of its platforms are copied.
ALTER TABLE replica ADD COLUMN selected TEXT;
