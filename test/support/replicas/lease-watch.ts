/**
 * PostgreSQL's own record of who held which shard, and of who wrote about a destination without holding its lease (I3).
 * Replicas log in under names of their own, so the server knows one from the other.
 */
import { randomBytes } from 'node:crypto'
import type postgres from 'postgres'
import { whenDone } from '../postgres.ts'

export interface Tenure {
  readonly shard: number
  readonly epoch: string
  readonly login: string
  readonly at: Date
}

export class LeaseWatch {
  readonly #sql: postgres.Sql
  readonly #url: string
  readonly #prefix = `replica_${randomBytes(4).toString('hex')}_`
  #logins = 0

  private constructor(sql: postgres.Sql, url: string) {
    this.#sql = sql
    this.#url = url
  }

  static async start(sql: postgres.Sql, url: string): Promise<LeaseWatch> {
    const watch = new LeaseWatch(sql, url)
    await sql.unsafe(`
      CREATE TABLE public.tenures (shard smallint, epoch bigint, login text, at timestamptz);
      CREATE INDEX ON public.tenures (shard, epoch);
      CREATE FUNCTION public.note_tenure() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        INSERT INTO public.tenures VALUES (NEW.shard, NEW.epoch, session_user, clock_timestamp());
        RETURN NULL;
      END $$;
      CREATE TRIGGER note_tenure AFTER UPDATE ON spillway.leases FOR EACH ROW
        WHEN (NEW.epoch <> OLD.epoch) EXECUTE FUNCTION public.note_tenure();
      CREATE TABLE public.trespasses (login text, relation text, destination_id bigint, at timestamptz, row jsonb);
      CREATE FUNCTION public.note_trespass() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        IF session_user LIKE '${watch.#prefix}%' AND NOT EXISTS (
          SELECT FROM spillway.leases l JOIN public.tenures t USING (shard, epoch)
          WHERE l.shard = spillway.shard_of(NEW.destination_id) AND t.login = session_user) THEN
          INSERT INTO public.trespasses
          VALUES (session_user, TG_RELID::regclass, NEW.destination_id, clock_timestamp(), to_jsonb(NEW));
        END IF;
        RETURN NULL;
      END $$;
      CREATE TRIGGER note_trespass AFTER INSERT OR UPDATE ON spillway.cursors
        FOR EACH ROW EXECUTE FUNCTION public.note_trespass();
      CREATE TRIGGER note_trespass AFTER UPDATE ON spillway.delivery_state
        FOR EACH ROW EXECUTE FUNCTION public.note_trespass();
      CREATE TRIGGER note_trespass AFTER UPDATE ON spillway.replays
        FOR EACH ROW EXECUTE FUNCTION public.note_trespass();
      CREATE TRIGGER note_trespass AFTER INSERT ON spillway.dead_letters
        FOR EACH ROW EXECUTE FUNCTION public.note_trespass();
      CREATE TRIGGER note_trespass AFTER INSERT ON spillway.skipped_ranges
        FOR EACH ROW EXECUTE FUNCTION public.note_trespass()`)
    whenDone(async () => {
      for (let index = 0; index < watch.#logins; index++) {
        await sql.unsafe(`DROP ROLE IF EXISTS ${watch.#prefix}${index}`)
      }
    })
    return watch
  }

  /** A role of its own for one more process, and the database's URL under it. `settings` as of ALTER ROLE. */
  async login(settings: Readonly<Record<string, string>> = {}): Promise<{ login: string; url: string }> {
    const login = `${this.#prefix}${this.#logins++}`
    await this.#sql.unsafe(`CREATE ROLE ${login} SUPERUSER LOGIN PASSWORD 'replica'`)
    for (const [name, value] of Object.entries(settings)) {
      await this.#sql.unsafe(`ALTER ROLE ${login} SET ${name} = '${value}'`)
    }
    const url = new URL(this.#url)
    url.username = login
    url.password = 'replica'
    return { login, url: url.href }
  }

  /** Writes of replicas that did not hold the lease; there must be none. */
  async trespasses(): Promise<postgres.Row[]> {
    return this.#sql`SELECT * FROM public.trespasses ORDER BY at`
  }

  /** Each time that a shard was taken, in order. */
  async tenures(): Promise<Tenure[]> {
    return this.#sql<Tenure[]>`SELECT shard, epoch::text, login, at FROM public.tenures ORDER BY at, shard`
  }
}
