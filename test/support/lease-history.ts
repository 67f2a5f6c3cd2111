/** Who held which shard until when, as the database wrote it down at each change; and that no cursor ever went back. */
import type postgres from 'postgres'

export interface LeaseEntry {
  readonly shard: number
  /** Null: given back. */
  readonly owner: string | null
  readonly epoch: string
  /** Epoch milliseconds. */
  readonly expiresAt: number
  readonly at: number
}

export interface LeaseHistory {
  entries(): Promise<readonly LeaseEntry[]>
  /** Moves of cursors that went back. There may be none (I3). */
  backwards(): Promise<readonly postgres.Row[]>
}

/** Of a database whose cursors are of sources with ids. */
export async function recordLeases(sql: postgres.Sql): Promise<LeaseHistory> {
  await sql.unsafe(`
    CREATE SCHEMA recorded;
    CREATE TABLE recorded.leases (
      n bigserial PRIMARY KEY, shard int, owner uuid, epoch text, expires_at timestamptz, at timestamptz);
    CREATE FUNCTION recorded.lease() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      INSERT INTO recorded.leases (shard, owner, epoch, expires_at, at)
      VALUES (NEW.shard, NEW.owner, NEW.epoch::text, NEW.expires_at, clock_timestamp());
      RETURN NULL;
    END $$;
    CREATE TRIGGER recorded AFTER UPDATE ON spillway.leases FOR EACH ROW EXECUTE FUNCTION recorded.lease();
    CREATE TABLE recorded.backwards (destination_id bigint, former text, latter text);
    CREATE FUNCTION recorded.cursor() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      IF NEW.position::numeric < OLD.position::numeric THEN
        INSERT INTO recorded.backwards VALUES (NEW.destination_id, OLD.position, NEW.position);
      END IF;
      RETURN NULL;
    END $$;
    CREATE TRIGGER recorded AFTER UPDATE ON spillway.cursors FOR EACH ROW EXECUTE FUNCTION recorded.cursor()`)
  return leaseHistory(sql)
}

/** Of a database in which it is recorded already. */
export function leaseHistory(sql: postgres.Sql): LeaseHistory {
  return {
    entries: async () => {
      const rows = await sql<
        { shard: number; owner: string | null; epoch: string; expires_at: number; at: number }[]
      >`SELECT shard, owner, epoch, at_ms AS at, expires_ms AS expires_at FROM (
          SELECT *, (extract(epoch FROM at) * 1000)::float8 AS at_ms,
                 CASE WHEN isfinite(expires_at) THEN (extract(epoch FROM expires_at) * 1000)::float8 ELSE 0 END AS expires_ms
          FROM recorded.leases) r ORDER BY n`
      return rows.map(({ expires_at: expiresAt, ...rest }) => ({ ...rest, expiresAt }))
    },
    backwards: () => sql`SELECT * FROM recorded.backwards`,
  }
}

/**
 * Shards that somebody took before their former lease had ended, or without a new epoch. There may be none. Those of a
 * `first` owner that another one took over are returned with the time between.
 */
export function takeovers(
  entries: readonly LeaseEntry[],
  from: string,
): { readonly early: readonly string[]; readonly afterMs: readonly number[] } {
  const current = new Map<number, LeaseEntry>()
  const early: string[] = []
  const afterMs: number[] = []
  for (const entry of entries) {
    const before = current.get(entry.shard)
    current.set(entry.shard, entry)
    if (!before || before.owner === null || entry.owner === null) continue
    if (before.owner === entry.owner && before.epoch === entry.epoch) continue
    if (BigInt(entry.epoch) <= BigInt(before.epoch))
      early.push(`shard ${entry.shard}: epoch ${entry.epoch} after ${before.epoch}`)
    if (entry.at < before.expiresAt)
      early.push(`shard ${entry.shard}: taken ${before.expiresAt - entry.at} ms early`)
    if (before.owner === from && entry.owner !== from) afterMs.push(entry.at - before.expiresAt)
  }
  return { early, afterMs }
}
