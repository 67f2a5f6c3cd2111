/** How a destination is served: the daemon's settings, and what its row overrides in `delivery`. */
import { isObject, parseFields } from '../../providers/fields.ts'

export interface DeliverySettings {
  /** Events a batch at most; the provider's own limit may be lower. */
  readonly batchSize: number
  /** Batches in a row before others that wait get their turn. */
  readonly maxCatchupBatches: number
  readonly interBatchDelayMs: number
  /** Frozen batches that may be on their way at once, per log type. */
  readonly maxInFlight: number
  /** A destination that fails for longer than this loses its backlog, on the record. */
  readonly maxBacklogAgeMs: number
  readonly onBacklogExpiry: 'skip' | 'hold'
  /** Undefined: as fast as the endpoint takes them. */
  readonly maxEventsPerSecond: number | undefined
  readonly maxRequestsPerMinute: number | undefined
  /** When people are told that it is unhealthy: after so many failures in a row, or after failing for so long. */
  readonly unhealthyAfterFailures: number
  readonly unhealthyAfterMs: number
}

type ConfiguredSettings = Pick<
  DeliverySettings,
  'batchSize' | 'maxCatchupBatches' | 'interBatchDelayMs' | 'maxBacklogAgeMs'
>

/** What holds where a row says nothing: the environment's settings, one batch at a time, no backlog held. */
export function deliveryDefaults(config: ConfiguredSettings): DeliverySettings {
  const { batchSize, maxCatchupBatches, interBatchDelayMs, maxBacklogAgeMs } = config
  return {
    batchSize,
    maxCatchupBatches,
    interBatchDelayMs,
    maxInFlight: 1,
    maxBacklogAgeMs,
    onBacklogExpiry: 'skip',
    maxEventsPerSecond: undefined,
    maxRequestsPerMinute: undefined,
    unhealthyAfterFailures: 5,
    unhealthyAfterMs: 600_000,
  }
}

const dayMs = 86_400_000

/** Throws `DestinationConfigError` with paths below `delivery`. */
export function parseDeliverySettings(raw: unknown, defaults: DeliverySettings): DeliverySettings {
  // Most rows say nothing, and there may be thousands.
  if (isObject(raw) && Object.keys(raw).length === 0) return defaults
  return parseFields(
    raw,
    (fields) => ({
      batchSize: fields.integer('batchSize', { min: 1, max: 10_000 }) ?? defaults.batchSize,
      maxCatchupBatches:
        fields.integer('maxCatchupBatches', { min: 1, max: 100_000 }) ?? defaults.maxCatchupBatches,
      interBatchDelayMs:
        fields.integer('interBatchDelayMs', { min: 0, max: 3_600_000 }) ?? defaults.interBatchDelayMs,
      maxInFlight: fields.integer('maxInFlight', { min: 1, max: 64 }) ?? defaults.maxInFlight,
      maxBacklogAgeMs:
        fields.integer('maxBacklogAgeMs', { min: 1, max: 365 * dayMs }) ?? defaults.maxBacklogAgeMs,
      onBacklogExpiry:
        fields.choice('onBacklogExpiry', ['skip', 'hold'], defaults.onBacklogExpiry) ??
        defaults.onBacklogExpiry,
      maxEventsPerSecond:
        fields.integer('maxEventsPerSecond', { min: 1, max: 1_000_000 }) ?? defaults.maxEventsPerSecond,
      maxRequestsPerMinute:
        fields.integer('maxRequestsPerMinute', { min: 1, max: 1_000_000 }) ?? defaults.maxRequestsPerMinute,
      unhealthyAfterFailures:
        fields.integer('unhealthyAfterFailures', { min: 1, max: 1_000_000 }) ??
        defaults.unhealthyAfterFailures,
      unhealthyAfterMs:
        fields.integer('unhealthyAfterMs', { min: 1, max: 365 * dayMs }) ?? defaults.unhealthyAfterMs,
    }),
    'delivery',
  )
}
