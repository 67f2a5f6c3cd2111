import { describe, expect, test } from 'vitest'
import { Account } from '../../../src/cli/demo/accounting.ts'
import { NaiveReader } from '../../../src/cli/demo/naive.ts'
import { plannedDestinations } from '../../../src/cli/demo/plan.ts'
import { balance, tell } from '../../../src/cli/demo/result.ts'
import { Writer } from '../../../src/cli/demo/writer.ts'
import { createTestDatabase } from '../../support/postgres.ts'

const { sql } = await createTestDatabase()
const counts = { durationMs: 1_000, transactions: 1, rolledBack: 0 }
const [plan] = plannedDestinations
if (!plan) throw new Error('the demo has no destination')

/** Opens a transaction that has inserted one row; `commit` ends it. */
async function openTransaction(org: string) {
  const connection = await sql.reserve()
  await connection`BEGIN`
  const [row] = await connection<{ id: string }[]>`
    INSERT INTO spillway.action_audit_log (org_id) VALUES (${org}) RETURNING id`
  const id = Number(row?.id)
  const end = async (how: 'COMMIT' | 'ROLLBACK') => {
    await connection.unsafe(how)
    connection.release()
    return { logType: 'action', id, org } as const
  }
  return { id, end }
}

describe('the naive reader', () => {
  test('loses the row that commits after a later one was read', async () => {
    const naive = new NaiveReader(sql)
    const slow = await openTransaction('acme')
    const quick = await openTransaction('acme')
    naive.committed(await quick.end('COMMIT'))
    await naive.poll()
    expect(naive).toMatchObject({ written: 1, seen: 1, lost: 0 })
    naive.committed(await slow.end('COMMIT'))
    await naive.poll()
    expect(naive).toMatchObject({ written: 2, seen: 1, lost: 1 })
  })

  test('counts a row that it sees before its writer hears of the commit', async () => {
    const naive = new NaiveReader(sql)
    const transaction = await openTransaction('acme')
    const row = await transaction.end('COMMIT')
    await naive.poll()
    naive.committed(row)
    expect(naive).toMatchObject({ written: 1, seen: 1, lost: 0 })
  })
})

describe('the balance', () => {
  test('tells a row that came twice from one that was rolled back, and is not ok with either', async () => {
    const kept = await (await openTransaction('acme')).end('COMMIT')
    const undone = await (await openTransaction('acme')).end('ROLLBACK')
    const account = new Account(plan)
    account.committed(kept)
    const event = (id: number) => ({ id: `action:${id}`, org: 'acme' })
    account.arrived({ id: 'a', digest: 'a', events: [event(kept.id)] }, 'accepted', 0)
    account.arrived({ id: 'b', digest: 'b', events: [event(kept.id), event(undone.id)] }, 'accepted', 0)
    const result = await balance(sql, [account], new NaiveReader(sql), counts)
    expect(result.ok).toBe(false)
    expect(result.destinations).toMatchObject([
      { written: 1, delivered: 1, lost: 0, duplicates: 1, ghosts: 1 },
    ])
    expect(tell(result).filter((line) => line.startsWith('FAULT'))).toHaveLength(3)
  })

  test('is not ok while a committed row is missing', async () => {
    const account = new Account(plan)
    account.committed(await (await openTransaction('acme')).end('COMMIT'))
    const result = await balance(sql, [account], new NaiveReader(sql), counts)
    expect(result).toMatchObject({ ok: false, destinations: [{ lost: 1 }] })
  })
})

describe('the writer', () => {
  test('confirms exactly the rows that are in the tables when it has stopped', async () => {
    const { sql: own, url: ownUrl } = await createTestDatabase()
    const stop = new AbortController()
    const confirmed: string[] = []
    const writer: Writer = new Writer(
      ownUrl,
      {
        committed(rows) {
          confirmed.push(...rows.map(({ logType, id, org }) => `${logType}:${id}:${org}`))
          if (writer.rolledBack >= 3 && confirmed.length > 100) stop.abort()
        },
      },
      Math.random,
    )
    await writer.run(stop.signal)
    expect(writer.open).toBe(0)
    const rows = await own<{ row: string }[]>`
      SELECT 'request:' || id || ':' || org_id AS row FROM spillway.request_audit_log
      UNION ALL SELECT 'action:' || id || ':' || org_id FROM spillway.action_audit_log
      UNION ALL SELECT 'access:' || id || ':' || org_id FROM spillway.access_audit_log
      UNION ALL SELECT 'connection:' || id || ':' || org_id FROM spillway.connection_audit_log`
    expect(rows.map(({ row }) => row).sort()).toEqual(confirmed.sort())
  })
})
