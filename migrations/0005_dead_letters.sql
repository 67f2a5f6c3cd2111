-- Who refused the event, and with which HTTP status.
ALTER TABLE spillway.dead_letters ADD COLUMN provider text, ADD COLUMN status integer;
