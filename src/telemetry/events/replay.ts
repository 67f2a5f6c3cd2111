/** Replays: what was delivered before, or could not be, and is delivered again. */
import { destination } from './destination.ts'
import { durationMs, instant, integer, nullableInteger, oneOf, text } from './field.ts'

const replay = {
  replay_id: integer('Id of the replay'),
  kind: oneOf(['range', 'since', 'dead_letters', 'skipped'], 'What was asked for'),
  ...destination,
}
const sent = integer('Events that were accepted')

export const replayEvents = {
  'replay.started': {
    level: 'info',
    message: 'Replay {replay_id} to {name} begins, events: {expected}.',
    meaning: 'The daemon has taken a row of `replays` up. It runs beside the live stream.',
    action: 'Nothing.',
    metrics: [{ name: 'spillway_replays_started_total' }],
    fields: {
      ...replay,
      expected: nullableInteger('Events to send; `null` where it cannot be known'),
    },
  },
  'replay.progress': {
    level: 'info',
    message: 'Replay {replay_id} to {name} goes on, events so far: {sent}.',
    meaning: 'At most every 30 s.',
    action: 'Nothing.',
    fields: { ...replay, sent: integer('Events that were accepted since it was taken up in this run') },
  },
  'replay.batch_delivered': {
    level: 'debug',
    message: 'Delivered a part of replay {replay_id} to {name}, events: {events}.',
    meaning: 'A part of a replay was accepted and settled.',
    action: 'Nothing. The same numbers come summed up in `replay.progress` and `replay.finished`.',
    metrics: [{ name: 'spillway_replay_events_delivered_total', by: 'events' }],
    fields: {
      ...replay,
      log_type: text('Log type of the events'),
      events: integer('Events that were accepted'),
    },
  },
  'replay.backing_off': {
    level: 'warn',
    message: 'Replay {replay_id} to {name} failed ({outcome}) and is tried again: {message}',
    meaning: 'The replay has a back-off of its own; the live stream does not wait for it.',
    action: 'As for `destination.failed`. `spillway replay cancel` ends the replay.',
    metrics: [{ name: 'spillway_replay_attempts_failed_total', labels: { outcome: { field: 'outcome' } } }],
    fields: {
      ...replay,
      outcome: oneOf(['rejected', 'retry', 'unauthorized', 'gone'], 'Outcome'),
      message: text('The reason as a sentence'),
      consecutive_failures: integer('Failures of the replay in a row'),
      next_attempt_at: instant('When it is tried again'),
      suppressed: integer('Lines kept back since the last one'),
    },
  },
  'replay.finished': {
    level: 'info',
    message: 'Replay {replay_id} to {name} is done, events: {sent}.',
    meaning: 'It has gone through everything it was asked for.',
    action:
      'Nothing, if `refused`, `too_old` and `missing` are 0. Else these events were not delivered: refused ones are ' +
      'in `dead_letters`, the rows of missing ones are gone.',
    metrics: [{ name: 'spillway_replays_ended_total', labels: { result: { value: 'done' } } }],
    fields: {
      ...replay,
      sent,
      refused: integer('Events that are dead letters now'),
      too_old: integer('Events that the receiver would drop for their age'),
      missing: integer('Events whose rows are not in the source any more'),
      duration_ms: durationMs('Time since it began'),
    },
  },
  'replay.failed': {
    level: 'warn',
    message: 'Replay {replay_id} to {name} has failed: {message}',
    meaning: 'It ended without going through everything. What was sent stays sent.',
    action: 'Mend what the message says and ask for it again.',
    metrics: [{ name: 'spillway_replays_ended_total', labels: { result: { value: 'failed' } } }],
    fields: { ...replay, sent, message: text('The reason as a sentence') },
  },
  'replay.cancelled': {
    level: 'info',
    message: 'Replay {replay_id} to {name} was cancelled, events so far: {sent}.',
    meaning: 'Somebody ended it (`spillway replay cancel`). What was sent stays sent.',
    action: 'Nothing.',
    metrics: [{ name: 'spillway_replays_ended_total', labels: { result: { value: 'cancelled' } } }],
    fields: { ...replay, sent },
  },
} as const
