/** The audit tables and how far they can be read. */
import { durationMs, error, instant, integer, oneOf, optional, text } from './field.ts'

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
  'horizon.stalled': {
    level: 'warn',
    message: 'An open transaction of {application_name} (pid {holder_pid}) holds back {log_type}.',
    meaning:
      'Rows wait that may not be read yet, because a transaction that could still add earlier ones is open.',
    action:
      'Find out why that transaction stays open; `SELECT pg_terminate_backend(<holder_pid>)` ends it. ' +
      'Without `holder_pid` it is a prepared one: `SELECT * FROM pg_prepared_xacts`.',
    fields: {
      log_type: text('Log type of the source'),
      horizon: text('The position where it stands'),
      stalled_for_ms: durationMs('Time since it last moved'),
      holder_pid: optional(integer('Server process of the oldest holder')),
      application_name: optional(text("The holder's application name")),
      user: optional(text("The holder's database user")),
      state: optional(text("The holder's state, as in `pg_stat_activity`")),
      transaction_started_at: optional(instant("Start of the holder's transaction")),
      holders: integer('How many transactions hold it back'),
    },
  },
  'horizon.moved': {
    level: 'info',
    message: 'The horizon of {log_type} moves again.',
    meaning: 'The first move after `horizon.stalled`.',
    action: 'Nothing.',
    fields: {
      log_type: text('Log type of the source'),
      horizon: text('The position where it is now'),
      stalled_for_ms: durationMs('Time it had stood still'),
    },
  },
} as const
