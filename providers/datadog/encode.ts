/**
 * An event as a Datadog log. The envelope's parts become attributes of the same names (`@event`,
 * `@org_id`, `@data.actor`). The row stays below `data`: at the top level a column called `status`, `host`
 * or `service` would be taken for the log's own severity, host or service.
 */
import { oneLine } from '../envelope.ts'
import { readMembers, readString } from '../json-text.ts'
import type { AuditEvent, Framing, Limits } from '../provider.ts'
import type { DatadogConfig } from './config.ts'

const minuteMs = 60_000
const hourMs = 60 * minuteMs

/** From the "Send logs" page: the intake drops what lies outside of it, while it answers 202. */
const window = { pastMs: 18 * hourMs, aheadMs: 2 * hourMs }

/** Age is judged when a batch is cut. Until it has arrived quick retries may pass, and clocks may differ. */
const sendingMarginMs = 5 * minuteMs

/**
 * The same for events that are forwarded, whose age is judged when they are read: a page may wait for a whole
 * turn behind a slow receiver. A wide margin costs a date, a narrow one the event.
 */
const readingMarginMs = 2 * hourMs

/** From the "Send logs" page of the vendor's API reference. */
const sizes: Limits = {
  maxEvents: 1_000,
  // The intake takes 5 MB, uncompressed. Vector's sink aims at 4.25 MB, because what the intake adds to
  // each log counts as well, and a body over the limit is refused as a whole (413).
  maxBytes: 4_250_000,
  // A larger log is cut off while the intake answers 202: nobody would ever learn of it.
  maxEventBytes: 1_000_000,
}

export function datadogLimits({ timestampMode }: DatadogConfig): Limits {
  if (timestampMode === 'forward') return sizes
  return {
    ...sizes,
    maxEventAgeMs: window.pastMs - sendingMarginMs,
    maxEventAheadMs: window.aheadMs - sendingMarginMs,
  }
}

export const datadogFraming: Framing = { prefix: '[', separator: ',', suffix: ']', gzip: true }

export function encodeDatadogEvent(event: AuditEvent, config: DatadogConfig, now: number): string {
  const isForwarded = config.timestampMode === 'forward' && isOutside(event, now)
  const own = JSON.stringify({
    message: summary(event),
    ddsource: config.source,
    ddtags: config.ddtags,
    service: config.service,
    hostname: config.hostname,
    // Milliseconds: the form that every date remapper reads. The row keeps its full precision below `data`.
    timestamp: Math.floor(isForwarded ? now : event.timestampMs),
    original_timestamp: isForwarded ? event.timestamp : undefined,
    id: event.id,
    event: event.logType,
    org_id: event.orgId,
  })
  return oneLine(`${own.slice(0, -1)},"data":${event.dataJson}}`)
}

/** Whether the intake might drop it for its timestamp by the time it arrives. */
function isOutside({ timestampMs }: AuditEvent, now: number): boolean {
  const { pastMs, aheadMs } = window
  return timestampMs < now - (pastMs - readingMarginMs) || timestampMs > now + (aheadMs - sendingMarginMs)
}

/** The columns that tell a person what happened, in the order in which they are read. */
const tellingColumns = [
  'actor',
  'action',
  'target_type',
  'target_id',
  'method',
  'host',
  'path',
  'status',
  'type',
  'outcome',
  'resource_id',
  'protocol',
  'source_addr',
  'dest_addr',
  'ip',
]

/** For tables without any of those: their first columns. */
const fallbackColumns = 8

/** Of a value, in characters. The whole of it is in the attributes. */
const maxValueLength = 120

/**
 * The log's line: `action:7 actor=alice action=user.login`. It is all that Datadog's full-text search looks
 * at. It must not be JSON, which the intake would unpack over the attributes.
 */
function summary(event: AuditEvent): string {
  const columns = readMembers(event.dataJson) ?? new Map<string, string>()
  const telling = tellingColumns.flatMap((name) => word(name, columns.get(name)))
  const words =
    telling.length > 0
      ? telling
      : [...columns].flatMap(([name, json]) => word(name, json)).slice(0, fallbackColumns)
  return [event.id, ...words].join(' ')
}

/** `name=value`; none for null, objects and lists. */
function word(name: string, json: string | undefined): string[] {
  if (json === undefined || json === 'null' || json.startsWith('{') || json.startsWith('[')) return []
  const text = json.startsWith('"') ? readString(json) : json
  const short = text.length > maxValueLength ? `${text.slice(0, maxValueLength).toWellFormed()}…` : text
  return [`${name}=${/^[^\s"=]+$/.test(short) ? short : JSON.stringify(short)}`]
}
