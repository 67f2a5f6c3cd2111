/** How a destination is served: the daemon's settings, and what its row overrides in `delivery`. */
import { parseFields } from '../../providers/fields.ts'

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
  }
}

const dayMs = 86_400_000

/** Throws `DestinationConfigError` with paths below `delivery`. */
export function parseDeliverySettings(raw: unknown, defaults: DeliverySettings): DeliverySettings {
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
    }),
    'delivery',
  )
}
