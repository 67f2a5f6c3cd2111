/** The audit tables and how far they can be read. */
import { durationMs, error, instant, integer, oneOf, optional, text, texts } from './field.ts'

const source = {
  log_type: text('Log type of the source'),
  relation: text('The table, with its schema'),
}

export const sourceEvents = {
  'source.started': {
    level: 'info',
    message: 'Reading {relation} as {log_type}.',
    meaning: 'The table was found and fits its registration.',
    action: 'Nothing.',
    fields: {
      ...source,
      ordering: oneOf(['id', 'xact'], 'What the position is'),
      fence: oneOf(
        ['sequence', 'table', 'snapshot'],
        'What tells that no row can still appear: locks on the sequence, locks on the table, or the snapshot',
      ),
    },
  },
  'source.invalid': {
    level: 'warn',
    message: 'The source {log_type} cannot be read: {problem}',
    meaning: 'Its registration does not fit the table. Its events wait; the other sources run on.',
    action: 'Follow `hint`. The source is looked at again by itself.',
    fields: {
      log_type: source.log_type,
      relation: optional(source.relation),
      problem: text('What does not fit'),
      hint: text('What to do about it'),
    },
  },
  'source.rewound': {
    level: 'error',
    message: 'The source {log_type} was stopped: {problem}',
    meaning:
      'The table was restored, truncated, made anew, or its sequence set back. New rows may come at positions ' +
      'that were read already and would be passed over. Nothing of it is read until its cursors are set anew; ' +
      'the other sources run on.',
    action: 'Follow `hint`: `spillway sources rebase <log type>` sets the cursors so that nothing is lost.',
    fields: { ...source, problem: text('The figures'), hint: text('What to do about it') },
  },
  'source.recovered': {
    level: 'info',
    message: 'The source {log_type} can be read again.',
    meaning: 'The first success after `source.invalid` or `source.rewound`.',
    action: 'Nothing; the events that waited are delivered.',
    fields: source,
  },
  'source.error': {
    level: 'error',
    message: 'The work for {log_type} met an error that should not happen.',
    meaning: 'The table fits its registration, as far as the daemon knows. It goes on by itself.',
    action: 'Follow `error.hint`; without one, report the line as a bug.',
    fields: { log_type: text('Log type of the source'), error: error('What happened, with its causes') },
  },
  'hints.started': {
    level: 'info',
    message: 'Listening for new rows.',
    meaning:
      'Tables have the trigger of `spillway sources notify`: their rows are read as soon as they are committed.',
    action: 'Nothing.',
    fields: { log_types: texts('Log types whose tables have the trigger') },
  },
  'hints.stopped': {
    level: 'info',
    message: 'Not listening for new rows.',
    meaning:
      'The connection that listens was lost or could not be made, or no table has the trigger any more. Rows are ' +
      'found by polling; nothing is lost. It is tried again by itself.',
    action: 'Nothing if it is rare.',
    fields: {
      code: optional(text('Code of the driver or SQLSTATE; absent when no table has the trigger any more')),
    },
  },
  'horizon.stalled': {
    level: 'warn',
    message: 'Rows of {log_type} wait for {holder}.',
    meaning:
      'Rows wait that may not be read yet, because a transaction that could still add earlier ones is open; or ' +
      'the table is locked against readers. Said after 10 s, then once a minute. The other fields are those of ' +
      'the oldest holder.',
    action:
      'See [what to do, by the holder](OPERATIONS.md#a-horizon-that-stands-still). ' +
      "`SELECT pg_terminate_backend(<holder_pid>)` ends a session, `ROLLBACK PREPARED '<gid>'` a prepared transaction.",
    fields: {
      log_type: text('Log type of the source'),
      horizon: optional(text('The position where it stands; absent when there is none yet')),
      stalled_for_ms: durationMs('Time since it last moved, or since rows began to wait'),
      holder: text('The oldest transaction that holds it back, in words'),
      holders: optional(integer('How many transactions hold it back')),
      holder_pid: optional(integer('Server process of the oldest holder; a prepared transaction has none')),
      gid: optional(text('The name of a prepared transaction')),
      application_name: optional(text("The holder's application name")),
      user: optional(text("The holder's database user")),
      database: optional(text("The holder's database; with the ordering `xact` it may be another one")),
      client_address: optional(text('Where its client is: address and port, or `local socket`')),
      backend_type: optional(text('As in `pg_stat_activity`: `client backend` for an application')),
      state: optional(text("The holder's state, as in `pg_stat_activity`, or `prepared`")),
      wait: optional(
        text('What its session waits for, as in `pg_stat_activity`; `Client` is its application'),
      ),
      blocked_by: optional(texts('Server processes that the holder waits for itself')),
      lock: optional(text('The lock by which it holds the horizon')),
      transaction_started_at: optional(
        instant("Start of the holder's transaction; of a prepared one, when it was prepared"),
      ),
      transaction_age_ms: optional(durationMs('Time since then')),
      hint: optional(text('Why something is missing here, and what to do about it')),
    },
  },
  'horizon.moved': {
    level: 'info',
    message: 'The horizon of {log_type} moves again.',
    meaning: 'The first move after `horizon.stalled`, or no row waits any more.',
    action: 'Nothing.',
    fields: {
      log_type: text('Log type of the source'),
      horizon: optional(text('The position where it is now')),
      stalled_for_ms: durationMs('Time it had stood still'),
    },
  },
} as const
