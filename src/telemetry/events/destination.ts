/** Destinations: their settings, their deliveries and their failures. */
import type { Outcome } from '../../../providers/provider.ts'
import { durationMs, error, instant, integer, nullableText, oneOf, optional, text, texts } from './field.ts'
import { reasonCodes } from './reason-codes.ts'

/** Every line about a destination says which one it is and whose. */
export const destination = {
  destination_id: integer('Id of the destination'),
  name: text('Its name'),
  type: text('Its type'),
  org: nullableText('Its org; `null` for one that receives all orgs'),
}

/** Marks the lines that people want to be told of: a log router need look at nothing else. */
const channel = oneOf(['spillway.notifications'], 'Mark of the lines that people are told of')

export const notification = {
  channel,
  failing_for_ms: durationMs('Time since the first failure'),
  consecutive_failures: integer('Failures in a row'),
}

const batch = {
  log_type: text('Log type of the batch'),
  batch_id: text('Stable id of the batch, as the receiver sees it'),
}

const outcomes = ['partial', 'rejected', 'retry', 'unauthorized', 'gone'] as const satisfies Outcome['kind'][]

export const reason = oneOf(reasonCodes, 'Why')
const status = optional(integer('HTTP status, where there was an answer'))

export const destinationEvents = {
  'destination.added': {
    level: 'info',
    message: 'Delivering to {name}.',
    meaning: 'A row was inserted, or found at the start.',
    action: 'Nothing.',
    fields: {
      ...destination,
      log_types: texts('What it receives'),
      start_from: text('Where it starts'),
    },
  },
  'destination.changed': {
    level: 'info',
    message: 'Settings of {name} changed.',
    meaning: 'The row was edited. From the next batch on the new settings hold, and a back-off has ended.',
    action: 'Nothing.',
    fields: { ...destination, changed: texts('Columns that differ') },
  },
  'destination.removed': {
    level: 'info',
    message: '{name} was removed.',
    meaning: 'The row was deleted. A batch on its way has half a second to arrive.',
    action: 'Nothing.',
    fields: destination,
  },
  'destination.invalid': {
    level: 'warn',
    message: 'Settings of {name} cannot be used.',
    meaning:
      'The row has a setting that is wrong or that this version does not know. Nothing is delivered to it.',
    action: 'Mend the row as `problems` says; it is taken up within a second. Its events wait.',
    fields: { ...destination, problems: texts('One sentence for each bad field') },
  },
  'destination.enabled': {
    level: 'info',
    message: '{name} was enabled.',
    meaning: 'Deliveries resume at the cursor.',
    action: 'Nothing.',
    fields: destination,
  },
  'destination.disabled': {
    level: 'info',
    message: '{name} was disabled.',
    meaning: 'Nothing is delivered to it. Its cursor stays where it is.',
    action: 'Nothing.',
    fields: destination,
  },
  'batch.delivered': {
    level: 'debug',
    message: 'Delivered a batch of {log_type} to {name}, events: {events}.',
    meaning: 'A batch was accepted and settled.',
    action: 'Nothing. The same numbers come summed up in `destination.delivered`.',
    metrics: [
      { name: 'spillway_events_delivered_total', by: 'events' },
      { name: 'spillway_batches_delivered_total' },
      { name: 'spillway_batch_events', by: 'events' },
      { name: 'spillway_batch_bytes', by: 'bytes' },
      { name: 'spillway_batch_duration_seconds', by: 'duration_ms', scale: 0.001 },
    ],
    fields: {
      ...destination,
      ...batch,
      events: integer('Events in the batch'),
      bytes: integer('Their encoded size'),
      from: text('Position of its first row'),
      to: text('Position of its last row'),
      duration_ms: durationMs('Time the send took'),
    },
  },
  'destination.delivered': {
    level: 'info',
    message: 'Delivered to {name}, events: {events}.',
    meaning:
      'What was accepted since the last such line; at most one every 30 s, none when there was nothing.',
    action: 'Nothing.',
    fields: {
      ...destination,
      events: integer('Events accepted'),
      batches: integer('Batches accepted'),
      bytes: integer('Their encoded size'),
      since_ms: durationMs('The time this sums up'),
    },
  },
  'destination.failed': {
    level: 'warn',
    message: 'A delivery to {name} failed: {message}',
    meaning: 'A batch was not accepted. It is sent again by itself. Logged at once, then at most every 30 s.',
    action: 'Look at `reason` and `status`; with `retry` it is mostly the receiver that has to come back.',
    metrics: [
      {
        name: 'spillway_attempts_failed_total',
        labels: { outcome: { field: 'outcome' }, reason: { field: 'reason' } },
      },
    ],
    fields: {
      ...destination,
      ...batch,
      outcome: oneOf(outcomes, 'What it came to'),
      reason,
      status,
      message: text('The reason as a sentence'),
      consecutive_failures: integer('Failures in a row'),
      suppressed: integer('Failures since the last such line'),
    },
  },
  'destination.backing_off': {
    level: 'info',
    message: 'Next attempt for {name} at {next_attempt_at}.',
    meaning: 'The quick retries are used up. The pause is stored, so a restart does not shorten it.',
    action: 'Nothing, or mend the receiver. Editing the row ends the pause at once.',
    metrics: [{ name: 'spillway_backoffs_total' }],
    fields: {
      ...destination,
      next_attempt_at: instant('When it is tried again'),
      delay_ms: durationMs('The pause'),
      consecutive_failures: integer('Failures in a row'),
    },
  },
  'destination.unauthorized': {
    level: 'warn',
    message: '{name} refuses the credentials.',
    meaning: 'The receiver answers 401 or 403. Its events wait; none is given up for it.',
    action: "Renew the credentials in the destination's config.",
    fields: { ...destination, reason, status, message: text('The reason as a sentence') },
  },
  'destination.page_cancelled': {
    level: 'warn',
    message: 'PostgreSQL cancelled the reading of a page for {name}: {message}.',
    meaning:
      'Mostly the `statement_timeout` of the role, a lock on the table, or a missing index. The page is tried ' +
      'again with fewer rows, down to one. Logged at most every 30 s.',
    action:
      'See whether the table has an index on its org and id columns; otherwise raise the `statement_timeout` of the role.',
    metrics: [{ name: 'spillway_pages_cancelled_total' }],
    fields: {
      ...destination,
      message: text('What the server said'),
      suppressed: integer('Such pages since the last line that were not logged'),
    },
  },
  'destination.error': {
    level: 'error',
    message: 'The work for {name} met an error that should not happen.',
    meaning:
      'Neither the receiver nor the settings are at fault, as far as the daemon knows. It goes on by itself.',
    action: 'Follow `error.hint`; without one, report the line as a bug.',
    fields: { ...destination, error: error('What happened, with its causes') },
  },
  'destination.unhealthy': {
    level: 'warn',
    message: '{name} has been failing for {failing_for_ms} ms.',
    meaning:
      'It has failed as often, or for as long, as its `unhealthyAfterFailures` and `unhealthyAfterMs` say. Told once ' +
      'until it has recovered.',
    action: 'Tell those whose endpoint it is. What is wrong with it is in `destination.failed`.',
    fields: { ...destination, ...notification },
  },
  'destination.recovered': {
    level: 'info',
    message: '{name} accepts events again.',
    meaning: 'The first accepted batch after failures.',
    action: 'Nothing; the backlog is delivered.',
    metrics: [{ name: 'spillway_recoveries_total' }],
    fields: {
      ...destination,
      channel,
      failures: integer('Failures in a row; an edit of the row begins the count anew'),
      failing_for_ms: durationMs('Time since the first failure'),
    },
  },
  'destination.gone': {
    level: 'warn',
    message: '{name} answered that it is gone, and was disabled.',
    meaning: 'The receiver answered 410: it asks not to be called again.',
    action: 'Correct the address and enable the destination, or delete it.',
    fields: { ...destination, status, message: text('The reason as a sentence') },
  },
} as const
