/**
 * What one would write in an afternoon, as well as one can: select the next rows, make them JSON, post
 * them, go on. It keeps nothing, so it repeats everything after a crash, loses what commits out of order,
 * and ends at the first error. It makes the same events as the daemon.
 */
import postgres from 'postgres'
import { Client } from 'undici'

interface Row {
  readonly id: string
  readonly org_id: string | null
  readonly occurred_at: Date
}

const { DATABASE_URL = '', URL: url = '', BATCH_SIZE } = process.env
const batchSize = Number(BATCH_SIZE)
const sql = postgres(DATABASE_URL, { max: 1 })
const client = new Client(url)

let cursor = '0'
for (;;) {
  const rows = await sql<Row[]>`
    SELECT * FROM spillway.request_audit_log WHERE id > ${cursor} ORDER BY id LIMIT ${batchSize}`
  const last = rows.at(-1)
  if (!last) break
  const body = JSON.stringify(rows.map(toEvent))
  const headers = { 'content-type': 'application/json' }
  const answer = await client.request({ method: 'POST', path: '/', headers, body })
  await answer.body.dump()
  if (answer.statusCode !== 200) throw new Error(`the receiver answered ${answer.statusCode}`)
  cursor = last.id
}
await Promise.all([client.close(), sql.end()])
process.disconnect()

function toEvent(row: Row) {
  return {
    id: `request:${row.id}`,
    event: 'request',
    timestamp: row.occurred_at,
    org_id: row.org_id,
    data: row,
  }
}
