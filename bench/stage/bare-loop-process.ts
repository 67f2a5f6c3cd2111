/**
 * What one would write in an afternoon, as well as one can: select the next rows, make them JSON, post
 * them, go on. It keeps nothing, so it repeats everything after a crash, loses what commits out of order,
 * and ends at the first error. It makes the same events as the daemon, and with a secret signs and
 * compresses them as the daemon does.
 */
import { createHmac } from 'node:crypto'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import postgres from 'postgres'
import { Client } from 'undici'

interface Row {
  readonly id: string
  readonly org_id: string | null
  readonly occurred_at: Date
}

const { DATABASE_URL = '', URL: url = '', BATCH_SIZE, SECRET = '' } = process.env
const batchSize = Number(BATCH_SIZE)
const compress = promisify(gzip)
const sql = postgres(DATABASE_URL, { max: 1 })
const client = new Client(url)

let cursor = '0'
for (;;) {
  const rows = await sql<Row[]>`
    SELECT * FROM spillway.request_audit_log WHERE id > ${cursor} ORDER BY id LIMIT ${batchSize}`
  const last = rows.at(-1)
  if (!last) break
  const text = JSON.stringify(rows.map(toEvent))
  const headers = { 'content-type': 'application/json', ...(SECRET && signed(last.id, text)) }
  const body = SECRET ? await compress(text) : text
  const answer = await client.request({ method: 'POST', path: '/', headers, body })
  await answer.body.dump()
  if (answer.statusCode !== 200) throw new Error(`the receiver answered ${answer.statusCode}`)
  cursor = last.id
}
await Promise.all([client.close(), sql.end()])
process.disconnect()

function signed(id: string, body: string) {
  const timestamp = Math.floor(Date.now() / 1000)
  const key = Buffer.from(SECRET.slice('whsec_'.length), 'base64')
  const signature = createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64')
  return {
    'content-encoding': 'gzip',
    'webhook-id': id,
    'webhook-timestamp': String(timestamp),
    'webhook-signature': `v1,${signature}`,
  }
}

function toEvent(row: Row) {
  return {
    id: `request:${row.id}`,
    event: 'request',
    timestamp: row.occurred_at,
    org_id: row.org_id,
    data: row,
  }
}
