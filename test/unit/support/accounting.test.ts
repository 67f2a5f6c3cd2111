import type postgres from 'postgres'
import { describe, expect, it } from 'vitest'
import { account, type CommittedRow, nothingWrong } from '../../support/accounting.ts'
import type { ReceivedRequest } from '../../support/receiver.ts'

const noDatabase = undefined as unknown as postgres.Sql // The tables here ask none.

function row(id: string, options: Partial<CommittedRow> = {}): CommittedRow {
  return { id, org: 'acme', xact: null, removed: false, ...options }
}

function request(batchId: string, ids: readonly string[], org: string | null = 'acme'): ReceivedRequest {
  const body = Buffer.from(JSON.stringify(ids.map((id) => ({ id: `trail:${id}`, org_id: org }))))
  const headers = { 'webhook-id': batchId }
  return {
    method: 'POST',
    path: '/',
    headers,
    rawHeaders: [],
    rawBody: body,
    body,
    connection: 1,
    beganAt: 0,
  }
}

function accountOf(
  rows: readonly CommittedRow[],
  requests: readonly ReceivedRequest[],
  {
    org = null,
    keys = 'numbers',
    killsAt = [],
  }: {
    org?: string | null
    keys?: 'numbers' | 'bytes'
    killsAt?: readonly number[]
  } = {},
) {
  const table = { logType: 'trail', keys, committed: async () => rows }
  return account(noDatabase, requests, org, { table, killsAt })
}

describe('the account of what a receiver got', () => {
  it('finds nothing wrong with each row once and in order', async () => {
    const found = await accountOf([row('9'), row('10')], [request('a', ['9']), request('b', ['10'])])
    expect(found).toEqual({ ...nothingWrong, repeatedBatches: 0, repeatedUnkilled: [] })
  })

  it('names what is missing, what was never committed and what is another tenant’s', async () => {
    const rows = [row('1'), row('2'), row('3', { org: 'globex' })]
    const found = await accountOf(rows, [request('a', ['1', '4']), request('b', ['3'], 'globex')], {
      org: 'acme',
    })
    expect(found).toMatchObject({ lost: ['trail:2'], ghosts: ['trail:4', 'trail:3'], foreign: ['trail:3'] })
  })

  it('orders by number, or by transaction and then by the bytes of the key', async () => {
    const numbers = await accountOf([row('9'), row('10')], [request('a', ['10', '9'])])
    expect(numbers.outOfOrder).toEqual(['trail:9'])
    // By UTF-16 units the last two would change places.
    const rows = [row('z', { xact: '9' }), row('\u{ff5e}', { xact: '10' }), row('\u{1f600}', { xact: '10' })]
    const right = await accountOf(rows, [request('a', ['z', '\u{ff5e}', '\u{1f600}'])], { keys: 'bytes' })
    expect(right.outOfOrder).toEqual([])
    const wrong = await accountOf(rows, [request('a', ['z', '\u{1f600}', '\u{ff5e}'])], { keys: 'bytes' })
    expect(wrong.outOfOrder).toEqual(['trail:\u{ff5e}'])
  })

  it('lets a batch come again after a kill, under its id and with its bytes', async () => {
    const rows = [row('1'), row('2')]
    const again = [request('a', ['1', '2']), request('a', ['1', '2'])]
    expect(await accountOf(rows, again, { killsAt: [1] })).toEqual({
      ...nothingWrong,
      repeatedBatches: 1,
      repeatedUnkilled: [],
    })
    expect((await accountOf(rows, again)).repeatedUnkilled).toEqual(['trail:1', 'trail:2'])
    const elsewhere = await accountOf(rows, [request('a', ['1', '2']), request('b', ['2'])], { killsAt: [1] })
    expect(elsewhere.repeatedElsewhere).toEqual(['trail:2'])
    const changed = await accountOf(rows, [request('a', ['1', '2']), request('a', ['2'])], { killsAt: [1] })
    expect(changed.changed).toEqual(['a'])
  })

  it('lets it come under another id only where one of its rows has gone', async () => {
    const rows = [row('1', { removed: true }), row('2')]
    const found = await accountOf(rows, [request('a', ['1', '2']), request('b', ['2'])], { killsAt: [1] })
    expect(found).toMatchObject(nothingWrong)
  })
})
