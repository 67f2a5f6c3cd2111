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

export function httpFraming({ format, gzip }: HttpConfig): Framing {
  switch (format) {
    case 'json_array':
      return { prefix: '[', separator: ',', suffix: ']', gzip }
    case 'ndjson':
      return { prefix: '', separator: '\n', suffix: '\n', gzip }
    case 'json_object':
      return { prefix: '', separator: '', suffix: '', gzip, onePerRequest: true }
    default:
      return format satisfies never
  }
}

export function httpLimits(config: HttpConfig): Limits {
  const { prefix, suffix, onePerRequest } = httpFraming(config)
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
