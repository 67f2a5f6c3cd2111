-- Who refused the event, and with which HTTP status.
ALTER TABLE spillway.dead_letters ADD COLUMN provider text, ADD COLUMN status integer;
--> statement-breakpoint
-- Up to here lies what is left of a refused batch that is being divided. Once something of it was accepted, what is
-- refused of it is to blame itself.
ALTER TABLE spillway.cursors ADD COLUMN divided_to text, ADD COLUMN divided_accepted boolean NOT NULL DEFAULT false;
