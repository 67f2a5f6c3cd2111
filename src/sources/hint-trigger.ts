/**
 * The trigger that tells of new rows (`spillway sources notify`): one for each statement that inserts, on the
 * table and on each of its partitions, since only those are asked that a statement names.
 *
 * It must never fail or change what the application does. The function runs with the rights of whoever
 * inserts, finds nothing by a search path, and lets go whatever goes wrong. NOTIFY itself can fail a
 * transaction only where it ends: PREPARE TRANSACTION refuses one that has notified, and COMMIT fails when the
 * server's queue is full because some session listens and never reads. For the first a role or a session sets
 * `spillway.notify = off`; before the second the function falls silent.
 */
import { createHash } from 'node:crypto'
import { quoteIdentifier, quoteText } from '../events/columns.ts'

/** What the triggers notify and the daemon listens to; the payload is the log type. */
export const hintChannel = 'spillway_rows'

const prefix = 'spillway_notify_'
/** Of a name in PostgreSQL. */
const maxNameBytes = 63

/** The trigger's name and its function's. Log types are ASCII. */
export function hintName(logType: string): string {
  const name = `${prefix}${logType}`
  if (name.length <= maxNameBytes) return name
  const hash = createHash('sha256').update(logType).digest('hex').slice(0, 8)
  return `${name.slice(0, maxNameBytes - hash.length - 1)}_${hash}`
}

/** `schema` as it is in the catalogue. */
export function hintFunction(schema: string, logType: string): string {
  return `${quoteIdentifier(schema)}.${quoteIdentifier(hintName(logType))}`
}

/** Safe to run again. */
export function createFunction(name: string, logType: string): string[] {
  return [
    `CREATE OR REPLACE FUNCTION ${name}() RETURNS trigger
LANGUAGE plpgsql SECURITY INVOKER SET search_path = pg_catalog, pg_temp AS $spillway$
BEGIN
  IF current_setting('spillway.notify', true) IS DISTINCT FROM 'off' AND pg_notification_queue_usage() < 0.5 THEN
    PERFORM pg_notify('${hintChannel}', ${quoteText(logType)});
  END IF;
  RETURN NULL;
EXCEPTION WHEN OTHERS THEN
  RETURN NULL; -- a hint is not worth an INSERT
END $spillway$`,
    `GRANT EXECUTE ON FUNCTION ${name}() TO PUBLIC`,
  ]
}

/** `relation` as it is written in SQL. */
export function createTrigger(relation: string, logType: string, functionName: string): string {
  return `CREATE TRIGGER ${quoteIdentifier(hintName(logType))} AFTER INSERT ON ${relation} FOR EACH STATEMENT EXECUTE FUNCTION ${functionName}()`
}

export function dropTrigger(relation: string, logType: string): string {
  return `DROP TRIGGER IF EXISTS ${quoteIdentifier(hintName(logType))} ON ${relation}`
}

/** An expression: whether the table tells of its rows. `relation` is an expression of its OID. */
export function hasHint(relation: string, logType: string): string {
  return `EXISTS (SELECT FROM pg_trigger WHERE tgrelid = ${relation} AND tgname = ${quoteText(hintName(logType))}
    AND tgenabled IN ('O', 'A'))`
}
