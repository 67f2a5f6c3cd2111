/**
 * The catalogue of structured log events. The log line, docs/LOGS.md and the metrics all come from it, so
 * that what the documents say is what the daemon writes. A code, once released, keeps its meaning.
 */
import { backlogEvents } from './events/backlog.ts'
import { daemonEvents } from './events/daemon.ts'
import { destinationEvents } from './events/destination.ts'
import type { EventDefinition, Field } from './events/field.ts'
import { replayEvents } from './events/replay.ts'
import { sourceEvents } from './events/source.ts'

export const events = {
  ...daemonEvents,
  ...sourceEvents,
  ...destinationEvents,
  ...backlogEvents,
  ...replayEvents,
} as const satisfies Readonly<Record<string, EventDefinition>>

export type EventCode = keyof typeof events

type Fields<Code extends EventCode> = (typeof events)[Code]['fields']
type TypeOf<F> = F extends Field<infer T> ? T : never
type RequiredKeys<Fs> = { [K in keyof Fs]: Fs[K] extends Field<unknown, true> ? never : K }[keyof Fs]

/** The fields of an event, as its emitter gives them. */
export type EventFields<Code extends EventCode> = {
  readonly [K in RequiredKeys<Fields<Code>>]: TypeOf<Fields<Code>[K]>
} & {
  readonly [K in Exclude<keyof Fields<Code>, RequiredKeys<Fields<Code>>>]?:
    | TypeOf<Fields<Code>[K]>
    | undefined
}

/** The subjects of docs/LOGS.md, in its order. */
export const subjects: readonly {
  readonly title: string
  readonly events: Readonly<Record<string, EventDefinition>>
}[] = [
  { title: 'Daemon and database', events: daemonEvents },
  { title: 'Sources', events: sourceEvents },
  { title: 'Destinations', events: destinationEvents },
  { title: 'What was not delivered', events: backlogEvents },
  { title: 'Replays', events: replayEvents },
]
