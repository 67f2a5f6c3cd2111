/**
 * Kills a daemon at chosen steps of its work, many at once: each destination has a step of its own at which it is held, and
 * when all are held the daemon is killed. Steps are what can be seen from outside: a request that has arrived and
 * is not answered yet, and a write that is
 *
 * - `lost`: held inside the database, and rolled back after the kill;
 * - `unheard`: held, and committed after the kill, so that nobody heard of it.
 */
import type postgres from 'postgres'

export type HeldTable = 'cursors' | 'delivery_state' | 'skipped_ranges' | 'dead_letters' | 'replays'

export type FaultPoint =
  | { readonly kind: 'request'; readonly occurrence: number }
  | { readonly kind: 'lost' | 'unheard'; readonly table: HeldTable; readonly occurrence: number }

/** A piece of the statement that moves the cursors of several destinations. */
const marksTogether = 'free AS MATERIALIZED'

const lockKeys = { lost: 700_001, unheard: 700_002 }

/** The daemon's pool has eight connections, and needs some to go on: hold no more writes than this at once. */
export const mostHeldWrites = 5

export function describePoint(point: FaultPoint): string {
  const { kind, occurrence } = point
  return kind === 'request' ? `request ${occurrence}` : `${kind} write ${occurrence} of ${point.table}`
}

export class WriteFaults {
  readonly #sql: postgres.Sql
  #holder: postgres.ReservedSql | undefined

  constructor(sql: postgres.Sql) {
    this.#sql = sql
  }

  /**
   * Counts the writes about each destination from now on, and holds none yet. Unless they may go `together`, a statement
   * for several destinations fails, and each writes for itself: else the one that is held would hold the others.
   */
  async install(tables: readonly HeldTable[], together: boolean): Promise<void> {
    const sql = this.#sql
    await sql.unsafe(`
      CREATE TABLE public.fault_points (destination_id bigint, relation text, occurrence bigint, lock_key int);
      CREATE FUNCTION public.next_write(destination_id bigint, relation text) RETURNS bigint LANGUAGE plpgsql AS $$
      BEGIN
        -- A sequence keeps its count when the write is rolled back.
        RETURN nextval(format('public.writes_%s_%s', destination_id, relation));
      EXCEPTION WHEN undefined_table THEN
        RETURN NULL;
      END $$;
      CREATE FUNCTION public.hold_write() RETURNS trigger LANGUAGE plpgsql AS $$
      DECLARE
        seen bigint;
        key int;
      BEGIN
        IF NOT ${together} AND current_query() LIKE '%${marksTogether}%' THEN RAISE 'each for itself'; END IF;
        seen := public.next_write(NEW.destination_id, TG_TABLE_NAME);
        SELECT p.lock_key INTO key FROM public.fault_points p
        WHERE p.destination_id = NEW.destination_id AND p.relation = TG_TABLE_NAME AND p.occurrence = seen;
        IF key IS NOT NULL THEN
          -- The daemon would not wait for a lock for so long.
          PERFORM set_config('lock_timeout', '0', true);
          PERFORM pg_advisory_xact_lock_shared(key);
        END IF;
        RETURN NEW;
      END $$`)
    for (const table of tables) {
      await sql.unsafe(`
        CREATE TRIGGER hold_write BEFORE INSERT OR UPDATE ON spillway.${table}
        FOR EACH ROW EXECUTE FUNCTION public.hold_write()`)
    }
    const holder = await sql.reserve()
    for (const key of Object.values(lockKeys)) await holder`SELECT pg_advisory_lock(${key})`
    this.#holder = holder
  }

  /** `point` undefined: its writes are only counted. */
  async watch(destinationId: number, tables: readonly HeldTable[], point?: FaultPoint): Promise<void> {
    for (const table of tables)
      await this.#sql.unsafe(`CREATE SEQUENCE public.writes_${destinationId}_${table}`)
    if (!point || point.kind === 'request') return
    await this.#sql`
      INSERT INTO public.fault_points
      VALUES (${destinationId}, ${point.table}, ${point.occurrence}, ${lockKeys[point.kind]})`
  }

  async writesOf(destinationId: number, table: HeldTable): Promise<number> {
    const name = `public.writes_${destinationId}_${table}`
    const [row] = await this.#sql<{ writes: number }[]>`
      SELECT coalesce(pg_sequence_last_value(${name}::text::regclass), 0)::int AS writes`
    return row?.writes ?? 0
  }

  /** Waits until so many writes are held; tells how many of them are of several destinations. */
  async held(count: number): Promise<number> {
    for (;;) {
      const [row] = await this.#sql<{ held: number; together: number }[]>`
        SELECT count(*)::int AS held, count(*) FILTER (WHERE a.query LIKE ${`%${marksTogether}%`})::int AS together
        FROM pg_locks l JOIN pg_stat_activity a USING (pid)
        WHERE ${this.#isOurs(Object.values(lockKeys))} AND NOT granted`
      if (row && row.held >= count) return row.together
      await this.#sql`SELECT pg_sleep(0.02)`
    }
  }

  /** After the kill: rolls the lost writes back, lets the unheard ones commit, and holds no more. */
  async resolve(): Promise<void> {
    const sql = this.#sql
    await sql`DELETE FROM public.fault_points`
    await sql`
      SELECT pg_terminate_backend(pid, 5000) FROM pg_locks l
      WHERE ${this.#isOurs([lockKeys.lost])} AND NOT granted`
    const holder = this.#holder
    if (holder) await holder`SELECT pg_advisory_unlock_all()`
    holder?.release()
    for (;;) {
      const [row] = await sql<{ waiting: number }[]>`
        SELECT count(*)::int AS waiting FROM pg_locks l WHERE ${this.#isOurs(Object.values(lockKeys))}`
      if (row?.waiting === 0) return
      await sql`SELECT pg_sleep(0.02)`
    }
  }

  /** A condition on `pg_locks l`, which shows those of all databases: others are held by the same keys at the same time. */
  #isOurs(keys: readonly number[]) {
    return this.#sql`
      l.locktype = 'advisory' AND l.objid IN ${this.#sql(keys)}
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())`
  }
}
