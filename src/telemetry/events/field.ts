/** What an entry of the catalogue is made of. Types of fields are checked where an event is emitted. */
import type { EventMetric } from '../metrics/definition.ts'
import type { movedByEvents } from '../metrics/moved-by-events.ts'

type Level = 'debug' | 'info' | 'warn' | 'error' | 'fatal'

/** How a field appears in the line. `instant` is given as epoch milliseconds and written as ISO 8601. */
export type Kind = 'string' | 'integer' | 'boolean' | 'instant' | 'strings' | 'ranges' | 'error'

export interface Field<T = unknown, Optional extends boolean = boolean> {
  readonly kind: Kind
  readonly description: string
  readonly optional: Optional
  /** For the compiler only. */
  readonly type?: T
}

export interface EventDefinition {
  readonly level: Level
  /** One short sentence; `{field}` is replaced by the field's value. */
  readonly message: string
  readonly meaning: string
  /** What the reader of the line should do. */
  readonly action: string
  readonly fields: Readonly<Record<string, Field>>
  /** What it moves, each time that it happens: also when its line is kept back. */
  readonly metrics?: readonly EventMetric<keyof typeof movedByEvents>[]
}

/** Positions that were left out, both ends included. */
export interface Range {
  readonly log_type: string
  readonly from_position: string
  readonly to_position: string
  /** Null where it cannot be known. */
  readonly event_count: number | null
}

type Required<T> = Field<T, false>
const field = <T>(kind: Kind, description: string): Required<T> => ({ kind, description, optional: false })

export const text = (description: string) => field<string>('string', description)
export const nullableText = (description: string) => field<string | null>('string', description)
export const nullableInteger = (description: string) => field<number | null>('integer', description)
export const integer = (description: string) => field<number>('integer', description)
export const flag = (description: string) => field<boolean>('boolean', description)
export const instant = (description: string) => field<number>('instant', description)
export const texts = (description: string) => field<readonly string[]>('strings', description)
export const ranges = (description: string) => field<readonly Range[]>('ranges', description)
export const error = (description: string) => field<unknown>('error', description)

/** One of a bounded set, which the description lists. */
export function oneOf<const T extends string>(values: readonly T[], description: string): Required<T> {
  return field('string', `${description}: ${values.map((value) => `\`${value}\``).join(', ')}`)
}

export function optional<T>(inner: Required<T>): Field<T, true> {
  return { ...inner, optional: true }
}

/** Milliseconds, as all durations. */
export const durationMs = (description: string) => integer(`${description}, in milliseconds`)
