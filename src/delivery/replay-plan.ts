/**
 * What a replay sends: for each log type a range that ends at the destination's cursor at the latest. What lies
 * beyond comes by the live stream, and may lie beyond the horizon (I2). Only the destination's own org's rows are
 * counted and read (I7).
 *
 * A range that begins before the destination did is sent as it was asked for: its org's rows are its own, however
 * old. A skipped range leaves out what the live stream would have left out, so that its count can be met.
 */
import type { Destination } from '../destinations/destination.ts'
import { comparePositions, earlierOf, isPosition, type Position } from '../sources/position.ts'
import type { Reader } from '../sources/reader.ts'
import type { Scope, Stamped } from '../sources/selection.ts'
import type { SourceDefinition } from '../sources/source.ts'
import type { ReplayFacts, Standing } from './replay-facts.ts'
import type { Replay } from './replay-store.ts'
import type { SourceView } from './stream-source.ts'

export interface PlannedRange {
  readonly logType: string
  readonly life: string
  readonly from: Position
  readonly to: Position
}

export type Plan =
  | {
      readonly kind: 'ranges'
      readonly ranges: readonly PlannedRange[]
      /** Undefined where the database gave up counting. */
      readonly expected: number | undefined
    }
  /** It cannot be done, and waiting does not mend it. */
  | { readonly kind: 'refused'; readonly reason: string }
  /** It cannot be done yet. */
  | { readonly kind: 'wait'; readonly reason: string }

export interface PlanDeps {
  readonly facts: Pick<ReplayFacts, 'standings' | 'skipped' | 'deadLetterCounts'>
  source(logType: string): SourceView
  definition(logType: string): SourceDefinition | undefined
  /** Undefined when the database gave up. */
  count(reader: Reader, scope: Scope, range: { after: Position; upTo: Position }): Promise<number | undefined>
}

/** A log type whose source can be read, with what was read of its row. */
interface Readable {
  readonly standing: Standing
  readonly cursor: NonNullable<Standing['cursor']>
  readonly reader: Reader
  readonly ordering: 'id' | 'xact'
}

export async function planReplay(
  replay: Replay,
  destination: Pick<Destination, 'id' | 'orgId' | 'logTypes' | 'configured'>,
  deps: PlanDeps,
): Promise<Plan> {
  const { logType } = replay
  if (logType !== null && !destination.logTypes.includes(logType)) return refused(notItsOwn(logType))
  const wanted = logType === null ? destination.logTypes : [logType]
  if (replay.kind === 'dead_letters') return planDeadLetters(destination.id, wanted, deps)
  const standings = await deps.facts.standings(destination.id, wanted)
  const readable: Readable[] = []
  for (const standing of standings) {
    const { cursor } = standing
    // Nothing of it has been delivered yet.
    if (!cursor) continue
    const found = readableNow(standing, cursor.position, deps)
    if (!found) return { kind: 'wait', reason: notReadable(standing.logType) }
    readable.push({ standing, cursor, ...found })
  }
  if (replay.kind === 'since') return planSince(replay, destination.orgId, readable, deps)
  const [only] = readable
  if (!only) return refused(`Nothing of ${logType} has been delivered to the destination yet.`)
  return planRange(replay, destination, only, deps)
}

/** The source as it is read at the moment, if that is what its row says and it was read up to `upTo`. */
export function readableNow(
  { logType, revision }: Pick<Standing, 'logType' | 'revision'>,
  upTo: Position,
  deps: Pick<PlanDeps, 'source' | 'definition'>,
): { reader: Reader; ordering: 'id' | 'xact' } | undefined {
  const definition = deps.definition(logType)
  const { reader, horizon } = deps.source(logType)
  if (definition?.revision !== revision || !reader || horizon === undefined) return undefined
  if (comparePositions(horizon, upTo) < 0) return undefined
  return { reader, ordering: definition.ordering }
}

export function notReadable(logType: string): string {
  return `The source of ${logType} cannot be read at the moment.`
}

export function notItsOwn(logType: string): string {
  return `The destination does not get the log type ${logType} (any more).`
}

export function expired(maxBacklogAgeMs: number, error: string): string {
  const minutes = Math.round(maxBacklogAgeMs / 60_000)
  const span = minutes >= 1 ? `${minutes} min` : `${maxBacklogAgeMs} ms`
  return `The destination failed for its whole maxBacklogAgeMs (${span}): ${error}`
}

/** Which rows a replay sends of a range, beside those that its positions name. */
export function scopeOf(
  replay: Pick<Replay, 'kind' | 'since' | 'until'>,
  orgId: string | null,
  from: Position,
  cursor: Standing['cursor'],
): Scope {
  const start = replay.kind === 'skipped' ? cursor?.start : undefined
  const inStart = start && comparePositions(from, start.until) < 0
  const stamped = stampedOf(replay)
  return { orgId, ...(inStart && { start }), ...(stamped && { stamped }) }
}

export function stampedOf({ since, until }: Pick<Replay, 'since' | 'until'>): Stamped | undefined {
  return since === null ? undefined : { since, ...(until !== null && { until }) }
}

async function planRange(
  replay: Replay,
  { id, orgId, configured }: Pick<Destination, 'id' | 'orgId' | 'configured'>,
  { standing, cursor, reader, ordering }: Readable,
  deps: PlanDeps,
): Promise<Plan> {
  const { logType, life } = standing
  const { from, to: asked, skippedId } = replay
  if (from === null || asked === null || !isPosition(from, ordering) || !isPosition(asked, ordering)) {
    return refused(`The positions do not fit the source of ${logType}, whose ordering is ${ordering}.`)
  }
  if (comparePositions(from, asked) >= 0) {
    return refused(`The range is empty: ${asked} does not come after ${from}.`)
  }
  const to = earlierOf(asked, cursor.position)
  if (comparePositions(from, to) >= 0) {
    return refused(
      `Nothing after ${from} has been delivered yet (the cursor stands at ${cursor.position}); it comes with the live stream.`,
    )
  }
  const skipped =
    replay.kind === 'skipped' && skippedId !== null ? await deps.facts.skipped(skippedId, id) : undefined
  if (replay.kind === 'skipped' && !skipped) {
    return refused(
      `The source of ${logType} has been pointed elsewhere or rebased since the range was skipped: its positions mean other rows now.`,
    )
  }
  if (skipped?.reason === 'too_old_for_provider' && configured.limits.maxEventAgeMs !== undefined) {
    return refused(stillTooOld)
  }
  const there = await deps.count(reader, scopeOf(replay, orgId, from, cursor), { after: from, upTo: to })
  if (there === 0) {
    const count = skipped?.eventCount ?? 0
    return refused(
      count > 0 || skipped?.reason === 'deleted_at_source'
        ? `The rows are gone: none of the range is in the source any more${count > 0 ? `, of ${count} events` : ''}.`
        : 'There is nothing to replay: the range has no rows of the destination.',
    )
  }
  return { kind: 'ranges', ranges: [{ logType, life, from, to }], expected: skipped?.eventCount ?? there }
}

export const stillTooOld =
  'The events are still too old: the receiver drops events of their age, and would drop them again.'

/**
 * Timestamps do not follow positions. The range goes from the first row that is stamped late enough to the cursor,
 * and its rows are told by their timestamps, in the database.
 */
async function planSince(
  replay: Replay,
  orgId: string | null,
  readable: readonly Readable[],
  deps: PlanDeps,
): Promise<Plan> {
  const ranges: PlannedRange[] = []
  let expected: number | undefined = 0
  for (const { standing, cursor, reader } of readable) {
    const from = await reader.before(replay.since ?? '-infinity')
    if (from === undefined || comparePositions(from, cursor.position) >= 0) continue
    const range = { after: from, upTo: cursor.position }
    const there = await deps.count(reader, scopeOf(replay, orgId, from, cursor), range)
    if (there === 0) continue
    expected = expected === undefined || there === undefined ? undefined : expected + there
    ranges.push({ logType: standing.logType, life: standing.life, from, to: cursor.position })
  }
  if (ranges.length === 0) {
    return refused('There is nothing to replay: no delivered row of the destination is stamped in that time.')
  }
  return { kind: 'ranges', ranges, expected }
}

async function planDeadLetters(
  destinationId: number,
  logTypes: readonly string[],
  deps: PlanDeps,
): Promise<Plan> {
  const counts = await deps.facts.deadLetterCounts(destinationId, logTypes)
  const standings = await deps.facts.standings(
    destinationId,
    counts.map(({ logType }) => logType),
  )
  const ranges = counts.flatMap(({ logType, highestId }): PlannedRange[] => {
    const life = standings.find((standing) => standing.logType === logType)?.life
    return life === undefined ? [] : [{ logType, life, from: '0', to: highestId }]
  })
  if (ranges.length === 0)
    return refused('There is nothing to replay: no dead letter of the destination is unresolved.')
  return { kind: 'ranges', ranges, expected: counts.reduce((sum, { count }) => sum + count, 0) }
}

function refused(reason: string): Plan {
  return { kind: 'refused', reason }
}
