import { envelope } from '../envelope.ts'
import type { AuditEvent, Framing, Limits } from '../provider.ts'
import type { Format, HttpConfig } from './config.ts'
import { fillTemplate } from './template.ts'

/**
 * 5 MB: 250 events of 20 kB. Many servers take less (nginx 1 MiB) and answer 413; `delivery.batchSize` is
 * for them. A lower limit would declare events undeliverable that the receiver might well take.
 */
const maxBytes = 5_000_000

const contentTypes: Readonly<Record<Format, string>> = {
  json_array: 'application/json',
  ndjson: 'application/x-ndjson',
  json_object: 'application/json',
}

export function contentType(config: HttpConfig): string {
  return contentTypes[config.format]
}

/** There are few of them and many destinations. */
const framings: Readonly<Record<Format, Framing>> = {
  json_array: { prefix: '[', separator: ',', suffix: ']', gzip: false },
  ndjson: { prefix: '', separator: '\n', suffix: '\n', gzip: false },
  json_object: { prefix: '', separator: '', suffix: '', gzip: false, onePerRequest: true },
}
const gzipped = mapFormats((format): Framing => ({ ...framings[format], gzip: true }))
const limits = mapFormats((format) => limitsOf(framings[format]))

export function httpFraming({ format, gzip }: HttpConfig): Framing {
  return (gzip ? gzipped : framings)[format]
}

export function httpLimits({ format }: HttpConfig): Limits {
  return limits[format]
}

function mapFormats<T>(make: (format: Format) => T): Readonly<Record<Format, T>> {
  return { json_array: make('json_array'), ndjson: make('ndjson'), json_object: make('json_object') }
}

function limitsOf({ prefix, suffix, onePerRequest }: Framing): Limits {
  return {
    // With a request per event, a crash in the middle of a batch repeats all that went before: keep it short.
    maxEvents: onePerRequest === true ? 100 : 1_000,
    maxBytes,
    maxEventBytes: maxBytes - Buffer.byteLength(prefix + suffix),
  }
}

export function encodeHttpEvent(event: AuditEvent, config: HttpConfig): string {
  return config.template === undefined ? envelope(event) : fillTemplate(config.template, event)
}
