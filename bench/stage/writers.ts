/** Applications that write audit rows, over connections of their own. */
import { setTimeout as delay } from 'node:timers/promises'
import postgres from 'postgres'
import { monotonicMs } from './receiver.ts'
import { insertRow } from './rows.ts'

export interface Writing {
  readonly databaseUrl: string
  readonly rowsPerSecond: number
  readonly seconds: number
  /** Whose row is written next. */
  readonly org: () => number
}

const connections = 4

/** Rows at even intervals, each in a transaction of its own; returns when each, by its id, was committed. */
export async function write({
  databaseUrl,
  rowsPerSecond,
  seconds,
  org,
}: Writing): Promise<Map<number, number>> {
  const sql = postgres(databaseUrl, {
    max: connections,
    connection: { application_name: 'bench writer' },
  })
  const committed = new Map<number, number>()
  const began = monotonicMs()
  const rows = rowsPerSecond * seconds
  let next = 0
  const writeOn = async () => {
    for (let row = next++; row < rows; row = next++) {
      await delay(Math.max(began + (row / rowsPerSecond) * 1000 - monotonicMs(), 0))
      const id = await insertRow(sql, org())
      committed.set(id, monotonicMs())
    }
  }
  await Promise.all(Array.from({ length: connections }, writeOn))
  await sql.end()
  return committed
}

/** As many rows as one connection takes one after the other; returns how many a second. */
export async function writeFlatOut(databaseUrl: string, clients: number, seconds: number): Promise<number> {
  const sql = postgres(databaseUrl, { max: clients, connection: { application_name: 'bench writer' } })
  // Connecting is not counted.
  await Promise.all(Array.from({ length: clients }, () => insertRow(sql)))
  const began = monotonicMs()
  let rows = 0
  const writeOn = async () => {
    while (monotonicMs() - began < seconds * 1000) {
      await insertRow(sql)
      rows += 1
    }
  }
  await Promise.all(Array.from({ length: clients }, writeOn))
  const rate = rows / ((monotonicMs() - began) / 1000)
  await sql.end()
  return rate
}
