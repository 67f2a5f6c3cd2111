/** What the metrics read of a running service at each scrape. Nothing here asks a database. */
import type { Leases } from './cluster/leases.ts'
import { shardCount } from './cluster/share.ts'
import type { Availability } from './db/availability.ts'
import type { PoolUsage } from './db/pool-usage.ts'
import type { Fleet } from './delivery/fleet.ts'
import type { LagMeter } from './delivery/lag.ts'
import type { Lanes } from './delivery/lanes.ts'
import type { SourceSet } from './sources/source-set.ts'
import type { DestinationReading, Reading, Readings } from './telemetry/metrics.ts'

export interface ServiceParts {
  readonly fleet: Pick<Fleet, 'forwarders' | 'unserved' | 'disabled' | 'ids'>
  readonly sources: Pick<SourceSet, 'watchers'>
  readonly lag: Pick<LagMeter, 'figures'>
  readonly lanes: Readonly<Record<'live' | 'replay', Pick<Lanes, 'usage'>>>
  readonly pools: Readonly<Record<'state' | 'source', PoolUsage>>
  readonly sourceAvailability: Pick<Availability, 'down'>
  readonly leases: Pick<Leases, 'serving'>
}

export function serviceReadings(parts: ServiceParts): Readings {
  const { fleet, sources, lag, lanes, pools, sourceAvailability, leases } = parts
  const ofPools = (value: (usage: PoolUsage) => number) => () =>
    Object.entries(pools).map(([database, usage]): Reading => ({ labels: { database }, value: value(usage) }))
  const ofLanes = (value: (lane: ReturnType<Lanes['usage']>[number]) => number) => () =>
    Object.entries(lanes).flatMap(([work, each]) =>
      each.usage().map((lane): Reading => ({ labels: { work, lane: lane.name }, value: value(lane) })),
    )
  const ofSources = (value: (watcher: SourceSet['watchers'][number]) => number | undefined) => () =>
    sources.watchers.map(
      (watcher): Reading => ({
        labels: { log_type: watcher.definition.logType },
        value: value(watcher) ?? Number.NaN,
      }),
    )
  // Of one that is another replica's now, the meter forgets the figures at its next pass only.
  const lags = () => fleet.ids.flatMap((id) => lag.figures.get(id) ?? [])
  return {
    spillway_database_up: () => [{ labels: { database: 'source' }, value: sourceAvailability.down ? 0 : 1 }],
    spillway_shards: () => shardCount,
    spillway_shards_held: () => leases.serving.length,
    spillway_pool_max_connections: ofPools(({ max }) => max),
    spillway_pool_used_connections: ofPools(({ used }) => used),
    spillway_pool_waiting_statements: ofPools(({ waiting }) => waiting),
    spillway_destinations: () => byStatus(fleet),
    spillway_lag_events: () => lags().reduce((sum, { events }) => sum + (events ?? 0), 0),
    spillway_max_lag_events: () => lags().reduce((most, { events }) => Math.max(most, events ?? 0), 0),
    spillway_max_lag_seconds: () => lags().reduce((most, { seconds }) => Math.max(most, seconds ?? 0), 0),
    spillway_source_readable: ofSources(({ reader }) => (reader === undefined ? 0 : 1)),
    spillway_horizon_stalled_seconds: ofSources(({ stalledForMs }) => stalledForMs / 1_000),
    spillway_source_last_look_timestamp_seconds: ofSources(({ lookedAt }) => lookedAt && lookedAt / 1_000),
    spillway_lane_seats: ofLanes(({ seats }) => seats.size),
    spillway_lane_used_seats: ofLanes(({ seats }) => seats.used),
    spillway_lane_limit_bytes: ofLanes(({ bytes }) => bytes.size),
    spillway_lane_used_bytes: ofLanes(({ bytes }) => bytes.used),
  }
}

export function destinationReadings({
  fleet,
  lag,
}: Pick<ServiceParts, 'fleet' | 'lag'>): DestinationReading[] {
  return fleet.ids.map((id) => {
    const { events = null, seconds = null } = lag.figures.get(id) ?? {}
    return { id, lagEvents: events, lagSeconds: seconds }
  })
}

function byStatus({ forwarders, unserved, disabled }: ServiceParts['fleet']): Reading[] {
  const counts = { active: 0, backing_off: 0, unauthorized: 0, invalid: unserved.length - disabled, disabled }
  for (const { status } of forwarders) counts[status] += 1
  return Object.entries(counts).map(([status, value]) => ({ labels: { status }, value }))
}
