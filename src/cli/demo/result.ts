/** What a demo came to, and how it is told. Pure but for the one look into the database. */
import type { Sql } from '../../db/client.ts'
import { formatCount, formatCountOf, formatDuration } from '../format.ts'
import { renderTable } from '../table.ts'
import type { Account } from './accounting.ts'
import type { NaiveReader } from './naive.ts'

interface DestinationResult {
  readonly name: string
  readonly org: string | null
  readonly written: number
  readonly delivered: number
  readonly lost: number
  /** Some of the ids that are missing. */
  readonly missing: readonly string[]
  /** Requests that the endpoint answered with an error. */
  readonly refused_requests: number
  /** Events that came again under the same batch id, byte for byte. */
  readonly repeated: number
  /** Events that came again under another batch id. */
  readonly duplicates: number
  /** Events of transactions that rolled back. */
  readonly ghosts: number
  readonly foreign_org: number
  readonly altered_batches: number
  readonly out_of_order: number
}

export interface DemoResult {
  /** Nothing is lost and no promise was broken. */
  readonly ok: boolean
  /** For how long rows were written. */
  readonly duration_ms: number
  readonly rows: number
  readonly transactions: number
  readonly rolled_back: number
  readonly destinations: readonly DestinationResult[]
  readonly naive: { readonly written: number; readonly delivered: number; readonly lost: number }
}

interface Counts {
  readonly durationMs: number
  readonly transactions: number
  readonly rolledBack: number
}

const shownMissing = 5

/** Called when nothing is on its way any more. */
export async function balance(
  sql: Sql,
  accounts: readonly Account[],
  naive: NaiveReader,
  counts: Counts,
): Promise<DemoResult> {
  const destinations: DestinationResult[] = []
  for (const account of accounts) destinations.push(await balanceOne(sql, account))
  return {
    ok: destinations.every(isFlawless),
    duration_ms: Math.round(counts.durationMs),
    rows: naive.written,
    transactions: counts.transactions,
    rolled_back: counts.rolledBack,
    destinations,
    naive: { written: naive.written, delivered: naive.seen, lost: naive.lost },
  }
}

async function balanceOne(sql: Sql, account: Account): Promise<DestinationResult> {
  const { plan, unmatched, missing } = account
  const rows = await countRows(sql, unmatched)
  return {
    name: plan.name,
    org: plan.org,
    written: account.written,
    delivered: account.delivered,
    lost: missing.length,
    missing: missing.slice(0, shownMissing),
    refused_requests: account.refused,
    repeated: account.repeated,
    duplicates: rows,
    ghosts: unmatched.length - rows,
    foreign_org: account.foreign,
    altered_batches: account.altered,
    out_of_order: account.disordered,
  }
}

/** How many of the events are rows that were committed. */
async function countRows(sql: Sql, eventIds: readonly string[]): Promise<number> {
  let count = 0
  for (const eventId of eventIds) {
    const [logType = '', id = ''] = eventId.split(':')
    const found = await sql`
      SELECT FROM ${sql(`spillway.${logType}_audit_log`)} WHERE id = ${id}`
    count += found.length
  }
  return count
}

function isFlawless(result: DestinationResult): boolean {
  const { lost, duplicates, ghosts, foreign_org, altered_batches, out_of_order } = result
  return lost + duplicates + ghosts + foreign_org + altered_batches + out_of_order === 0
}

/** The summary's lines. */
export function tell(result: DemoResult): string[] {
  const total = (field: 'written' | 'delivered' | 'lost') =>
    result.destinations.reduce((sum, each) => sum + each[field], 0)
  const rows = [
    ...result.destinations,
    { name: 'total', written: total('written'), delivered: total('delivered'), lost: total('lost') },
    { name: 'naive reader', ...result.naive },
  ]
  const table = renderTable(
    [
      { heading: '', value: ({ name }) => name },
      { heading: 'written', value: ({ written }) => formatCount(written), align: 'right' },
      { heading: 'delivered', value: ({ delivered }) => formatCount(delivered), align: 'right' },
      { heading: 'lost', value: ({ lost }) => formatCount(lost), align: 'right' },
    ],
    rows,
  )
  const { naive } = result
  const share = naive.written === 0 ? 0 : (100 * naive.lost) / naive.written
  const refused = result.destinations.filter((each) => each.refused_requests > 0)
  return [
    `${formatCountOf(result.rows, 'row')} in ${formatCountOf(result.transactions, 'transaction')} within ${formatDuration(result.duration_ms)}; ${formatCount(result.rolled_back)} more rolled back.`,
    '',
    ...table.map((line) => `  ${line}`),
    '',
    `The naive reader polled WHERE id > cursor beside Spillway: it has lost ${share.toFixed(1)} % for good.`,
    ...refused.map(
      ({ name, refused_requests }) =>
        `${name} was down in between and refused ${formatCountOf(refused_requests, 'request')}.`,
    ),
    ...(result.ok
      ? ['Nothing lost, nothing twice, nothing rolled back, nothing of another org, all in order.']
      : result.destinations.flatMap(faults)),
  ]
}

function faults(result: DestinationResult): string[] {
  const list: readonly (readonly [number, string])[] = [
    [result.lost, `committed but not delivered: ${result.missing.join(', ')} …`],
    [result.duplicates, 'delivered twice under different batch ids'],
    [result.ghosts, 'delivered although rolled back'],
    [result.foreign_org, 'of another org'],
    [result.altered_batches, 'repeated under the same batch id with other bytes'],
    [result.out_of_order, 'out of order'],
  ]
  return list.flatMap(([count, what]) =>
    count === 0 ? [] : [`FAULT  ${result.name}: ${formatCount(count)} ${what}`],
  )
}
