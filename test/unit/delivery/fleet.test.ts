import { expect, test } from 'vitest'
import type { Configured } from '../../../providers/provider.ts'
import { systemClock } from '../../../src/clock.ts'
import { Availability } from '../../../src/db/availability.ts'
import type { Sql } from '../../../src/db/client.ts'
import { healthy } from '../../../src/delivery/decide.ts'
import { Fleet } from '../../../src/delivery/fleet.ts'
import { type DestinationState, FleetStore } from '../../../src/delivery/fleet-store.ts'
import { Lanes } from '../../../src/delivery/lanes.ts'
import type { Lease } from '../../../src/delivery/lease.ts'
import { Progress } from '../../../src/delivery/progress.ts'
import { deliveryDefaults } from '../../../src/destinations/delivery-settings.ts'
import type { RegisteredRow } from '../../../src/destinations/registry.ts'
import { noTracing } from '../../../src/telemetry/tracing.ts'
import { Lines } from '../../integration/reading/watching.ts'

/** Answers the first time when it is told to. */
class GatedStore extends FleetStore {
  gate: Promise<void> | undefined

  override async load(ids: readonly number[]): Promise<Map<number, DestinationState>> {
    const { gate } = this
    this.gate = undefined
    await gate
    return new Map(ids.map((id) => [id, { health: healthy, invalid: false, cursors: new Map() }]))
  }
}

const unused = () => {
  throw new Error('no statement is expected')
}
const row = (id: number, shard: number): RegisteredRow => ({
  id,
  shard,
  orgId: null,
  name: 'test',
  type: 'test',
  config: {},
  logTypes: ['request'],
  enabled: true,
  startFrom: 'now',
  filter: null,
  redaction: null,
  delivery: {},
  createdAt: 0,
  revision: '1',
})

test('a destination whose shard is taken while its row is being taken up gets one forwarder', async () => {
  const log = new Lines()
  const open = { now: 0 }
  const configured: Configured = {
    limits: { maxEvents: 1, maxBytes: 1, maxEventBytes: 1 },
    framing: { prefix: '', separator: '', suffix: '', gzip: false },
    encode: () => '',
    open: () => {
      open.now += 1
      return {
        send: async () => ({ kind: 'accepted' }),
        close: async () => {
          open.now -= 1
        },
      }
    },
  }
  const held = new Map<number, Lease>()
  const hold = (shard: number) => held.set(shard, { shard, owner: 'test', epoch: '1', isHeld: true })
  const store = new GatedStore(unused as unknown as Sql) // nothing is asked of it
  const size = { seats: 1, bytes: 1 }
  const rules = {
    types: new Map([['test', { type: 'test', configure: () => configured }]]),
    logTypes: new Map([['request', { hasOrg: true }]]),
    delivery: deliveryDefaults({
      batchSize: 1,
      maxCatchupBatches: 1,
      interBatchDelayMs: 0,
      maxBacklogAgeMs: 1,
    }),
    vault: { of: () => ({ reveal: unused }) },
  }
  const fleet = new Fleet({
    store,
    log,
    clock: systemClock,
    availability: new Availability(log, 'state'),
    sourceAvailability: new Availability(log, 'source'),
    lanes: new Lanes({ healthy: size, failing: size, aside: size }),
    progress: new Progress(),
    tracing: noTracing,
    http: { permitting: () => ({ request: unused }) },
    requestTimeoutMs: 1,
    backoffScheduleMs: [1],
    random: () => 0,
    source: () => ({
      reader: undefined,
      horizon: undefined,
      life: 0,
      oldest: undefined,
      formerOldest: undefined,
    }),
    lease: (shard) => held.get(shard),
    rules: () => rules,
    floors: () => new Map(),
    requestScan: () => {},
  })
  hold(0)
  const loading = Promise.withResolvers<void>()
  store.gate = loading.promise
  // More than are loaded at once: those of shard 1 come later.
  const applying = fleet.apply(Array.from({ length: 1_010 }, (_, id) => row(id, id < 1_000 ? 0 : 1)))
  while (store.gate) await Promise.resolve()
  hold(1)
  await fleet.take(new Set([1]))
  loading.resolve()
  await applying
  expect([open.now, fleet.forwarders.length]).toEqual([1_010, 1_010])
  await fleet.stop(0)
  expect(open.now).toBe(0)
})
