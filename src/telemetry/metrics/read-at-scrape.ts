/** Metrics whose values are asked for when somebody scrapes. Where each is read, its provider says. */
import type { MetricDefinition } from './definition.ts'

const database = { description: 'Which', values: ['state', 'source'] } as const
const work = { description: 'Live delivery or replays', values: ['live', 'replay'] } as const
const lane = {
  description: 'See Isolation in ARCHITECTURE',
  values: ['healthy', 'failing', 'aside'],
} as const
const logType = { description: 'Log type of the source', values: 'log types' } as const

export const daemonGauges = {
  spillway_build_info: {
    type: 'gauge',
    help: 'Always 1; the labels say what runs.',
    unit: 'none',
    use: 'Its absence is the alert for a daemon that is not scraped.',
    labels: {
      version: { description: "Spillway's version", values: 'versions' },
      node: { description: "Node.js's version", values: 'versions' },
    },
  },
  spillway_ready: {
    type: 'gauge',
    help: '1 while `/readyz` says ready, else 0.',
    unit: 'none',
    use: 'At 0 for minutes: see what `/readyz` names as problems.',
  },
  spillway_shards: {
    type: 'gauge',
    help: 'Shards that the replicas share.',
    unit: 'shards',
    use: 'What the sum of `spillway_shards_held` over all replicas should be.',
  },
  spillway_shards_held: {
    type: 'gauge',
    help: 'Shards that this daemon holds.',
    unit: 'shards',
    use: "A sum below `spillway_shards`: some destinations are nobody's at the moment.",
  },
  spillway_database_up: {
    type: 'gauge',
    help: '1 while the database can be used, else 0.',
    unit: 'none',
    use: 'At 0 deliveries pause. Nothing is lost.',
    labels: { database },
  },
  spillway_pool_max_connections: {
    type: 'gauge',
    help: 'Upper bound on the connections of a pool.',
    unit: 'connections',
    use: 'What `spillway_pool_used_connections` is to be compared with.',
    labels: { database },
  },
  spillway_pool_used_connections: {
    type: 'gauge',
    help: 'Connections of a pool that work on a statement.',
    unit: 'connections',
    use: 'All of them for long: the database is slow.',
    labels: { database },
  },
  spillway_pool_waiting_statements: {
    type: 'gauge',
    help: 'Statements that wait for a connection of the pool.',
    unit: 'statements',
    use: 'Above 0 for long: the database is slow, and everything behind it waits.',
    labels: { database },
  },
} as const satisfies Record<string, MetricDefinition>

export const destinationGauges = {
  spillway_destinations: {
    type: 'gauge',
    help: 'Destinations that this daemon looks after, by status.',
    unit: 'destinations',
    use: '`backing_off`, `unauthorized` and `invalid` get nothing until somebody mends them.',
    labels: {
      status: {
        description: 'As in `delivery_state`',
        values: ['active', 'backing_off', 'unauthorized', 'invalid', 'disabled'],
      },
    },
  },
  spillway_lag_events: {
    type: 'gauge',
    help: 'Events that wait, over all destinations; at most 10,000 are counted for each log type of a destination.',
    unit: 'events',
    use: 'Grows while more is written than delivered, or destinations fail.',
  },
  spillway_max_lag_events: {
    type: 'gauge',
    help: 'Events that wait for the destination with the most; at most 10,000 are counted for each log type.',
    unit: 'events',
    use: 'Near the sum: one destination is behind. Far below: all of them.',
    perDestination: 'Events that wait for the destination; at most 10,000 are counted for each log type.',
  },
  spillway_max_lag_seconds: {
    type: 'gauge',
    help: 'Age of the oldest event that waits, of the destination that is furthest behind.',
    unit: 'seconds',
    use: 'The figure to alert on: how late the evidence is. Rows behind a horizon that stands still are not in it.',
    perDestination: 'Age of the oldest event that waits for the destination.',
  },
} as const satisfies Record<string, MetricDefinition>

export const sourceGauges = {
  spillway_source_readable: {
    type: 'gauge',
    help: '1 while the audit table can be read, 0 while it is invalid, was set back or is not found yet.',
    unit: 'none',
    use: 'At 0 its events wait: see `source.invalid` and `source.rewound` in the log.',
    labels: { log_type: logType },
  },
  spillway_horizon_stalled_seconds: {
    type: 'gauge',
    help: 'For how long the horizon has stood still while rows wait; 0 when it moves.',
    unit: 'seconds',
    use: 'An open transaction holds it back; the log line `horizon.stalled` names it.',
    labels: { log_type: logType },
  },
  spillway_source_last_look_timestamp_seconds: {
    type: 'gauge',
    help: 'When the audit table was last looked at, in seconds since 1970.',
    unit: 'seconds',
    use: 'Older than a minute and the poll interval: the source database does not answer.',
    labels: { log_type: logType },
  },
} as const satisfies Record<string, MetricDefinition>

export const egressGauges = {
  spillway_http_requests_in_flight: {
    type: 'gauge',
    help: 'HTTP requests that are under way to receivers and token endpoints.',
    unit: 'requests',
    use: 'High with a low throughput: receivers answer slowly.',
  },
  spillway_lane_seats: {
    type: 'gauge',
    help: 'Destinations that may be worked for at once.',
    unit: 'seats',
    use: 'What `spillway_lane_used_seats` is to be compared with.',
    labels: { work, lane },
  },
  spillway_lane_used_seats: {
    type: 'gauge',
    help: 'Destinations that are being worked for.',
    unit: 'seats',
    use: '`healthy` full for long: add replicas, or look for receivers that answer slowly.',
    labels: { work, lane },
  },
  spillway_lane_limit_bytes: {
    type: 'gauge',
    help: 'Bytes that may be read and not yet sent.',
    unit: 'bytes',
    use: 'What `spillway_lane_used_bytes` is to be compared with.',
    labels: { work, lane },
  },
  spillway_lane_used_bytes: {
    type: 'gauge',
    help: 'Bytes that are read and not yet sent; one batch may exceed what is left.',
    unit: 'bytes',
    use: 'Full for long: events are large and receivers slow.',
    labels: { work, lane },
  },
} as const satisfies Record<string, MetricDefinition>

export const readAtScrape = {
  ...daemonGauges,
  ...destinationGauges,
  ...sourceGauges,
  ...egressGauges,
} as const satisfies Record<string, MetricDefinition>

export type GaugeName = keyof typeof readAtScrape
