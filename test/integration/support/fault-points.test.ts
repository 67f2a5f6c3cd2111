/** Groups of fault points are tried at once, in databases of one server: none counts or ends what another one holds. */
import { expect, it } from 'vitest'
import { insertDestination } from '../../support/destinations.ts'
import { WriteFaults } from '../../support/fault-points.ts'
import { createTestDatabase, session } from '../../support/postgres.ts'

it.each(['lost', 'unheard'] as const)(
  'a held write that is to be %s outlasts those of another database',
  async (kind) => {
    const other = new WriteFaults((await createTestDatabase()).sql)
    await other.install(['dead_letters'], false)
    const { url, sql } = await createTestDatabase()
    const faults = new WriteFaults(sql)
    await faults.install(['dead_letters'], false)
    const id = await insertDestination(sql, { url: 'http://127.0.0.1' })
    await faults.watch(id, ['dead_letters'], { kind, table: 'dead_letters', occurrence: 1 })
    const write = session(url)`
    INSERT INTO spillway.dead_letters (destination_id, log_type, event_id, reason)
    VALUES (${id}, 'request', 'request:1', '{}')`.then(
      () => 'unheard',
      () => 'lost',
    )
    await faults.held(1)
    await other.resolve()
    await faults.held(1)
    await faults.resolve()
    expect(await write).toBe(kind)
  },
)
