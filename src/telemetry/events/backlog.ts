/** What was not delivered (I5: each has a row that says so, and one of these lines). */
import { destination, notification, reason } from './destination.ts'
import { durationMs, error, instant, integer, oneOf, optional, ranges, text } from './field.ts'

export const backlogEvents = {
  'backlog.abandoned': {
    level: 'warn',
    message: 'Skipped the backlog of {name} after {failing_for_ms} ms of failure, events: {event_count}.',
    meaning:
      'The destination failed without a break for its whole `maxBacklogAgeMs`. Its cursors went to the horizon; ' +
      'the ranges are in `skipped_ranges` and the rows still in the source.',
    action:
      'Mend the receiver, then `spillway replay <destination> --skipped <id>` for each range (`spillway replay skipped` lists them), ' +
      'or `--since` for all of them. The rows are in the source as long as the application keeps them.',
    metrics: [
      { name: 'spillway_backlogs_abandoned_total' },
      { name: 'spillway_events_skipped_total', by: 'event_count', labels: { reason: { field: 'reason' } } },
    ],
    fields: {
      ...destination,
      reason: oneOf(['backlog_expired'], 'Why'),
      event_count: integer('Events skipped, in all ranges'),
      failing_for_ms: durationMs('Time since the first failure'),
      ranges: ranges('What was skipped, by log type'),
    },
  },
  'backlog.expiring': {
    level: 'warn',
    message: 'The backlog of {name} has reached {percent} % of its maximum age.',
    meaning:
      'The destination goes on failing. At `expires_at` its backlog is given up, or kept if it is told to hold it. ' +
      'Told at 50, 75 and 90 %.',
    action: 'Mend the receiver before then, or set `onBacklogExpiry` to `hold`.',
    fields: {
      ...destination,
      ...notification,
      percent: integer('Share of `maxBacklogAgeMs` that is over'),
      expires_at: instant('When the backlog is at its maximum age'),
      on_expiry: oneOf(['skip', 'hold'], 'What happens then'),
    },
  },
  'backlog.held': {
    level: 'warn',
    message: '{name} has failed for {failing_for_ms} ms; its backlog is kept.',
    meaning: 'As `backlog.abandoned`, but the destination has `onBacklogExpiry: "hold"`: nothing is skipped.',
    action: 'Mend the receiver, or disable the destination. Keep the rows in the source until then.',
    fields: { ...destination, failing_for_ms: durationMs('Time since the first failure') },
  },
  'events.skipped': {
    level: 'warn',
    message: 'Skipped {log_type} events of {name} ({reason}), events: {event_count}.',
    meaning: 'Events that the receiver would drop without saying so were not sent. The range is recorded.',
    action:
      'Catch up sooner, and mend clocks that are ahead. A `datadog` destination with `timestampMode: "forward"` sends such events under the time of sending.',
    metrics: [
      { name: 'spillway_events_skipped_total', by: 'event_count', labels: { reason: { field: 'reason' } } },
    ],
    fields: {
      ...destination,
      reason: oneOf(['too_old_for_provider', 'too_far_ahead_for_provider'], 'Why'),
      event_count: integer('Events skipped, in all ranges'),
      log_type: text('Log type of the events'),
      ranges: ranges('What was skipped'),
    },
  },
  'events.deleted_at_source': {
    level: 'warn',
    message: 'Rows of {log_type} were deleted before {name} got them.',
    meaning:
      'The first row of the table lies beyond what the destination had got, and rows were waiting for it: the ' +
      "application's retention was faster. How many were its own cannot be known. The range is recorded.",
    action: 'Keep rows longer than destinations may fail, or mend the receiver sooner.',
    metrics: [{ name: 'spillway_deleted_ranges_total', by: 'ranges' }],
    fields: {
      ...destination,
      log_type: text('Log type of the events'),
      ranges: ranges('What may be missing'),
    },
  },
  'event.dead_lettered': {
    level: 'warn',
    message: '{name} refuses the event {event_id}: {message}',
    meaning:
      'The receiver will never take this one event. It is in `dead_letters`; the others were delivered.',
    action:
      'Look at the row and at what the receiver wants; mend the receiver or the config. Then ' +
      '`spillway replay <destination> --dead-letters` sends it again.',
    metrics: [{ name: 'spillway_events_dead_lettered_total', labels: { reason: { field: 'reason' } } }],
    fields: {
      ...destination,
      log_type: text('Log type of the event'),
      event_id: text('`<log type>:<row id>`'),
      reason,
      status: optional(integer('HTTP status, where there was an answer')),
      message: text('The reason as a sentence'),
    },
  },
  'lag.error': {
    level: 'error',
    message: 'How far destinations are behind could not be worked out.',
    meaning:
      'The lag in `delivery_state` stays what it was; delivery is not concerned. Said once until it succeeds.',
    action: 'Follow `error.hint`; without one, report the line as a bug.',
    fields: { error: error('What happened, with its causes') },
  },
} as const
