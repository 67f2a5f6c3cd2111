/** Audit tables in a database of their own, which takes everything from PUBLIC, and a role with the documented grants. */
import { randomBytes } from 'node:crypto'
import postgres from 'postgres'
import { createTestDatabase, whenDone } from './postgres.ts'
import { type Receiver, startReceiver } from './receiver.ts'
import { Page } from './recipes/page.ts'

export interface SeparateScene {
  /** Of Spillway's own tables. */
  readonly url: string
  readonly sql: postgres.Sql
  readonly source: { readonly url: string; readonly sql: postgres.Sql }
  readonly role: string
  readonly env: {
    readonly DATABASE_URL: string
    readonly SPILLWAY_SOURCE_DATABASE_URL: string
  }
  readonly receiver: Receiver
  /** A section of the page, with the names of this test. */
  grants(section: string): Page
}

export async function separateScene(): Promise<SeparateScene> {
  const { url, sql } = await createTestDatabase()
  const source = await createTestDatabase({ empty: true })
  const receiver = await startReceiver()
  whenDone(() => receiver.close())
  const role = `reader_${randomBytes(4).toString('hex')}`
  const name = databaseOf(source.url)
  await source.sql.unsafe(`
    REVOKE ALL ON DATABASE ${name} FROM PUBLIC;
    REVOKE ALL ON SCHEMA public FROM PUBLIC;
    CREATE SCHEMA audit;
    CREATE TABLE audit.login (
      id bigserial PRIMARY KEY, tenant text, at timestamptz NOT NULL DEFAULT now(), action text, secret text)
      PARTITION BY RANGE (id);
    CREATE TABLE audit.login_first PARTITION OF audit.login FOR VALUES FROM (1) TO (30);
    CREATE TABLE audit.login_rest PARTITION OF audit.login DEFAULT;
    CREATE INDEX ON audit.login (tenant, id);
    CREATE TABLE audit.visit (
      id uuid PRIMARY KEY DEFAULT gen_random_uuid(), tenant text, at timestamptz NOT NULL DEFAULT now(), page text,
      secret text, xact xid8 NOT NULL DEFAULT pg_current_xact_id());
    CREATE INDEX ON audit.visit (xact, id);
    CREATE INDEX ON audit.visit (tenant, xact, id)`)
  whenDone(async () => {
    await source.sql.unsafe(`DO $$ BEGIN
      IF EXISTS (SELECT FROM pg_roles WHERE rolname = '${role}') THEN
        EXECUTE 'DROP OWNED BY ${role}'; EXECUTE 'DROP ROLE ${role}';
      END IF;
    END $$`)
  })
  const reader = new URL(source.url)
  reader.username = role
  reader.password = 'choose-one'
  const env = { DATABASE_URL: url, SPILLWAY_SOURCE_DATABASE_URL: reader.href }
  return {
    url,
    sql,
    source,
    role,
    env,
    receiver,
    grants: (section) =>
      new Page({
        path: 'OPERATIONS.md',
        section,
        sql: source.sql,
        env,
        replace: {
          spillway_reader: role,
          ...(section === 'Grants' && { 'DATABASE app': `DATABASE ${name}` }),
        },
      }),
  }
}

export function databaseOf(url: string): string {
  return new URL(url).pathname.slice(1)
}

/** Asks as the daemon's role would. */
export async function asRole<T>(
  env: SeparateScene['env'],
  ask: (reader: postgres.Sql) => PromiseLike<T>,
): Promise<T> {
  const reader = postgres(env.SPILLWAY_SOURCE_DATABASE_URL, { max: 1, onnotice: () => {} })
  try {
    return await ask(reader)
  } finally {
    await reader.end()
  }
}
