/**
 * Datadog's log intake, as far as its API reference describes it ("Send logs", v2): what it refuses, with
 * which status, and what it does while answering 202: it truncates a log over 1 MB, and drops one that is more
 * than 18 h old or 2 h ahead. The conformance suite proves it with the vendor's own client before any sender of
 * ours talks to it.
 */
import { gunzipSync } from 'node:zlib'
import type { PlainReply, ReceivedRequest } from '../receiver.ts'

interface DatadogLog {
  readonly message: string
  readonly [attribute: string]: unknown
}

export interface DatadogIntake {
  /** What has been taken and kept, in order. */
  readonly logs: readonly DatadogLog[]
  /** How many of them the real intake would have cut off without a word. */
  readonly truncated: number
  /** How many it would have dropped for their time without a word. */
  readonly dropped: number
  answer(request: ReceivedRequest): PlainReply
}

const maxPayloadBytes = 5_000_000
const maxLogBytes = 1_000_000
const maxLogs = 1_000
const hourMs = 3_600_000
const maxAgeMs = 18 * hourMs
const maxAheadMs = 2 * hourMs

/** `now` is the intake's clock, in epoch milliseconds. */
export function datadogIntake(apiKey: string, now: () => number = Date.now): DatadogIntake {
  const logs: DatadogLog[] = []
  let truncated = 0
  let dropped = 0
  return {
    logs,
    get truncated() {
      return truncated
    },
    get dropped() {
      return dropped
    },
    answer(request) {
      const refusal = refuse(request, apiKey)
      if (refusal !== undefined) return refusal
      const parsed = parseLogs(request)
      if (typeof parsed === 'string') return failure(400, parsed)
      if (parsed.length > maxLogs) return failure(413, 'too many logs')
      const kept = parsed.filter((log) => isInTime(log, now()))
      dropped += parsed.length - kept.length
      logs.push(...kept)
      truncated += parsed.filter((log) => Buffer.byteLength(JSON.stringify(log)) > maxLogBytes).length
      return { status: 202, headers: { 'content-type': 'application/json' }, body: '{}' }
    },
  }
}

function refuse(request: ReceivedRequest, apiKey: string): PlainReply | undefined {
  const { headers } = request
  const [path] = request.path.split('?')
  if (path !== '/api/v2/logs') return failure(404, 'no such path')
  if (request.method !== 'POST') return failure(405, 'POST only')
  if (headers['dd-api-key'] === undefined) return failure(401, 'no API key')
  if (headers['dd-api-key'] !== apiKey) return failure(403, 'wrong API key')
  if (headers['content-type']?.split(';')[0] !== 'application/json') return failure(400, 'wrong content type')
  const encoding = headers['content-encoding']
  if (encoding !== undefined && encoding !== 'gzip') return failure(400, 'unknown encoding')
  if (encoding === 'gzip' && !isGzip(request.rawBody)) return failure(400, 'not gzip')
  return request.body.length > maxPayloadBytes ? failure(413, 'payload too large') : undefined
}

/** The logs, or what is wrong with them. */
function parseLogs(request: ReceivedRequest): readonly DatadogLog[] | string {
  const parsed = parseJson(request.body.toString('utf8'))
  const logs = Array.isArray(parsed) ? parsed : [parsed]
  if (logs.length === 0) return 'no logs'
  for (const log of logs) {
    if (typeof log !== 'object' || log === null) return 'a log is no object'
    if (typeof log.message !== 'string' || log.message === '') return 'a log has no message'
    for (const name of ['ddsource', 'ddtags', 'service', 'hostname']) {
      if (log[name] !== undefined && typeof log[name] !== 'string') return `${name} is no text`
    }
    if (log.ddtags !== undefined && !/^[^\s,]+(,[^\s,]+)*$/.test(log.ddtags)) return 'ddtags cannot be read'
  }
  return logs
}

/** ISO 8601 or epoch milliseconds; a log without a date, or with one that cannot be read, is dated on arrival. */
function isInTime({ timestamp }: DatadogLog, now: number): boolean {
  const at = typeof timestamp === 'number' ? timestamp : Date.parse(String(timestamp))
  return Number.isNaN(at) || (at >= now - maxAgeMs && at <= now + maxAheadMs)
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function isGzip(bytes: Buffer): boolean {
  try {
    gunzipSync(bytes)
    return true
  } catch {
    return false
  }
}

function failure(status: number, detail: string): PlainReply {
  const error = { status: String(status), title: 'refused', detail }
  const headers = { 'content-type': 'application/json' }
  return { status, headers, body: JSON.stringify({ errors: [error] }) }
}
