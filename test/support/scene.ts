/** What most tests of the running daemon need: a database, an endpoint, and somebody who writes audit rows. */
import type postgres from 'postgres'
import { createTestDatabase, type TestDatabase, whenDone } from './postgres.ts'
import { type Receiver, startReceiver } from './receiver.ts'

export interface Scene extends TestDatabase {
  readonly receiver: Receiver
  /** Inserts rows into the built-in request table, in one transaction. */
  write(count: number, org?: string): Promise<postgres.RowList<postgres.Row[]>>
}

export async function createScene(): Promise<Scene> {
  const database = await createTestDatabase()
  const receiver = await startReceiver()
  whenDone(() => receiver.close())
  return {
    ...database,
    receiver,
    write: async (count, org = 'acme') =>
      database.sql`
        INSERT INTO spillway.request_audit_log (org_id) SELECT ${org} FROM generate_series(1, ${count}::int)`,
  }
}
