/**
 * Structured logs: one JSON object a line, its shape given by the catalogue (events.ts). There is no way to
 * log free text, so that every line has a code, a level and documented fields.
 */
import { type DestinationStream, destination, type Logger, pino, stdTimeFunctions } from 'pino'
import type { LogLevel } from '../config.ts'
import type { EventDefinition, Kind } from './events/field.ts'
import { type EventCode, type EventFields, events } from './events.ts'
import { describeError, sanitize, sanitizeRecord } from './sanitize.ts'

/** The fields may be left out where none is required. */
type Arguments<Code extends EventCode> =
  Record<never, never> extends EventFields<Code> ? [fields?: EventFields<Code>] : [fields: EventFields<Code>]

export interface Log {
  /** Writes one line at the catalogue's level. Never throws for what is in the fields. */
  emit<Code extends EventCode>(code: Code, ...[fields]: Arguments<Code>): void
  /** Counts an event whose line is kept back because it repeats itself: the metrics are exact, the log is readable. */
  count<Code extends EventCode>(code: Code, ...[fields]: Arguments<Code>): void
  /** A log whose lines all carry `bindings`. */
  child(bindings: Readonly<Record<string, string | number | boolean>>): Log
  /** Resolves when everything emitted so far is handed to the stream. */
  flush(): Promise<void>
}

/** Hears of every event, whatever the level of the log. */
export interface EventCounter {
  count(code: EventCode, fields: object): void
}

export interface LogOptions {
  readonly level: LogLevel
  /** Of Spillway; in every line. */
  readonly version?: string
  /** Default: stdout, written synchronously so that the last line before an exit is never lost. */
  readonly stream?: DestinationStream
  readonly metrics?: EventCounter
}

const nobody: EventCounter = { count: () => {} }
const noFields = {}

export function createLog(options: LogOptions): Log {
  const logger = pino(
    {
      level: options.level,
      base: {
        service: 'spillway',
        ...(options.version !== undefined && { version: options.version }),
        pid: process.pid,
      },
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    options.stream ?? destination({ fd: 1, sync: true }),
  )
  return wrap(logger, options.metrics ?? nobody)
}

function wrap(logger: Logger, metrics: EventCounter): Log {
  return {
    emit(code, ...[fields]) {
      metrics.count(code, fields ?? noFields)
      const definition: EventDefinition = events[code]
      if (!logger.isLevelEnabled(definition.level)) return
      const written = write(definition, fields ?? noFields)
      logger[definition.level]({ event: code, ...written }, render(definition.message, written))
    },
    count(code, ...[fields]) {
      metrics.count(code, fields ?? noFields)
    },
    child(bindings) {
      return wrap(logger.child(sanitizeRecord(bindings)), metrics)
    },
    flush() {
      return new Promise((resolve, reject) => logger.flush((error) => (error ? reject(error) : resolve())))
    },
  }
}

/** The fields of the catalogue and no others: a widened object may carry more than the compiler saw. */
function write(definition: EventDefinition, fields: object): Record<string, unknown> {
  const given: Record<string, unknown> = { ...fields }
  const known: Record<string, unknown> = {}
  for (const [name, { kind }] of Object.entries(definition.fields)) {
    const value = given[name]
    if (value === undefined) continue
    known[name] = encode(kind, value)
  }
  return known
}

function encode(kind: Kind, value: unknown): unknown {
  if (kind === 'error') return describeError(value)
  return sanitize(kind === 'instant' && typeof value === 'number' ? new Date(value) : value)
}

function render(message: string, fields: Readonly<Record<string, unknown>>): string {
  return message.replace(/\{(\w+)\}/g, (_, name: string) => String(fields[name] ?? 'unknown'))
}
