/** Metrics that the events of the log move; which event moves which, and by what, stands with the event. */
import { reasonCodes } from '../events/reason-codes.ts'
import type { MetricDefinition } from './definition.ts'

const outcome = {
  description: 'What the attempt came to',
  values: ['partial', 'rejected', 'retry', 'unauthorized', 'gone'],
} as const
const reason = { description: 'Why, as in the log', values: reasonCodes } as const

export const deliveryMetrics = {
  spillway_events_delivered_total: {
    type: 'counter',
    help: 'Events that destinations accepted, replays not counted.',
    unit: 'events',
    use: 'Its rate is the throughput. At 0 while `spillway_lag_events` grows, nothing gets out.',
    perDestination: 'Events that the destination accepted, replays not counted.',
  },
  spillway_batches_delivered_total: {
    type: 'counter',
    help: 'Batches that destinations accepted, replays not counted.',
    unit: 'batches',
    use: 'With the events: how full batches are.',
  },
  spillway_batch_events: {
    type: 'histogram',
    help: 'Accepted events by batch.',
    unit: 'events',
    use: 'Small batches in a backlog: a low `batchSize`, large events, or a receiver that times out.',
    buckets: [1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 10_000],
  },
  spillway_batch_bytes: {
    type: 'histogram',
    help: 'Encoded size of accepted batches.',
    unit: 'bytes',
    use: 'Near the limit of a receiver, batches are cut by bytes and not by `batchSize`.',
    buckets: [1e3, 4e3, 16e3, 64e3, 256e3, 1e6, 2.5e6, 5e6, 10e6],
  },
  spillway_batch_duration_seconds: {
    type: 'histogram',
    help: 'Time from the first attempt at a batch to its acceptance, quick retries included.',
    unit: 'seconds',
    use: 'What receivers take. A destination delivers one batch after the other, unless `maxInFlight` says otherwise.',
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60],
  },
} as const satisfies Record<string, MetricDefinition>

export const failureMetrics = {
  spillway_attempts_failed_total: {
    type: 'counter',
    help: 'Attempts at a batch that failed, quick retries within an attempt not counted.',
    unit: 'attempts',
    use: 'By `reason`: what is wrong with receivers. The log line `destination.failed` names the destination.',
    labels: { outcome, reason },
    perDestination: 'Attempts at a batch for the destination that failed.',
  },
  spillway_backoffs_total: {
    type: 'counter',
    help: 'Pauses that destinations were given after a failure.',
    unit: 'pauses',
    use: 'Rises while destinations fail; `spillway_destinations` says how many do.',
  },
  spillway_recoveries_total: {
    type: 'counter',
    help: 'Destinations that accepted a batch after failures.',
    unit: 'recoveries',
    use: 'Many, with many back-offs: receivers that come and go.',
  },
  spillway_pages_cancelled_total: {
    type: 'counter',
    help: 'Pages of an audit table whose reading PostgreSQL cancelled.',
    unit: 'pages',
    use: 'See the runbook for `destination.page_cancelled`: mostly a missing index.',
  },
} as const satisfies Record<string, MetricDefinition>

export const lossMetrics = {
  spillway_events_skipped_total: {
    type: 'counter',
    help: 'Events that were not sent and are recorded as skipped ranges.',
    unit: 'events',
    use: 'Each rise asks for somebody: `spillway replay skipped` lists the ranges, `spillway replay` sends them.',
    labels: {
      reason: {
        description: 'Why, as in the log',
        values: ['backlog_expired', 'too_old_for_provider', 'too_far_ahead_for_provider'],
      },
    },
    perDestination: 'Events for the destination that were not sent and are recorded as skipped ranges.',
  },
  spillway_backlogs_abandoned_total: {
    type: 'counter',
    help: 'Backlogs that were given up at their maximum age.',
    unit: 'backlogs',
    use: 'As above. `onBacklogExpiry: "hold"` keeps them instead.',
  },
  spillway_deleted_ranges_total: {
    type: 'counter',
    help: 'Ranges whose rows were deleted at the source before they were delivered; how many rows, nobody knows.',
    unit: 'ranges',
    use: "Each rise is a loss that the application's retention made. Keep rows for longer.",
  },
  spillway_events_dead_lettered_total: {
    type: 'counter',
    help: 'Events that a destination refused for good, in live delivery and in replays.',
    unit: 'events',
    use: 'Look at `dead_letters` and mend receiver or config; `spillway replay <destination> --dead-letters` sends them again.',
    labels: { reason },
    perDestination: 'Events that the destination refused for good.',
  },
} as const satisfies Record<string, MetricDefinition>

export const replayMetrics = {
  spillway_replay_events_delivered_total: {
    type: 'counter',
    help: 'Events that destinations accepted in replays.',
    unit: 'events',
    use: 'Its rate shows the replays at work.',
  },
  spillway_replays_started_total: {
    type: 'counter',
    help: 'Replays that were begun; one that goes on after a restart counts again.',
    unit: 'replays',
    use: 'For the record.',
  },
  spillway_replays_ended_total: {
    type: 'counter',
    help: 'Replays that ended.',
    unit: 'replays',
    use: '`failed` asks for somebody: the log line `replay.failed` says what is wrong.',
    labels: { result: { description: 'How', values: ['done', 'failed', 'cancelled'] } },
  },
  spillway_replay_attempts_failed_total: {
    type: 'counter',
    help: 'Attempts of replays that failed.',
    unit: 'attempts',
    use: 'As `spillway_attempts_failed_total`; replays back off by themselves.',
    labels: { outcome },
  },
} as const satisfies Record<string, MetricDefinition>

export const clusterMetrics = {
  spillway_lease_moves_total: {
    type: 'counter',
    help: 'Times that leases came and went, of however many shards at once.',
    unit: 'moves',
    use: 'Starts and stops move leases. `lost` at other times: a slow database, a starving process, cut connections.',
    labels: { move: { description: 'What happened', values: ['acquired', 'released', 'lost'] } },
  },
  spillway_database_outages_total: {
    type: 'counter',
    help: 'Times that a database became unavailable.',
    unit: 'outages',
    use: 'Many short ones: failovers, or too few connections left.',
    labels: { database: { description: 'Which', values: ['state', 'source'] } },
  },
} as const satisfies Record<string, MetricDefinition>

export const movedByEvents = {
  ...deliveryMetrics,
  ...failureMetrics,
  ...lossMetrics,
  ...replayMetrics,
  ...clusterMetrics,
} as const satisfies Record<string, MetricDefinition>
