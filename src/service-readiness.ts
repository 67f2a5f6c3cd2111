/** What a running service's readiness is made of. */
import type { Leases } from './cluster/leases.ts'
import type { SourceSql, Sql } from './db/client.ts'
import { migrationQuestion } from './db/migrate.ts'
import type { PoolUsage } from './db/pool-usage.ts'
import { DatabaseProbe } from './db/probe.ts'
import type { Progress } from './delivery/progress.ts'
import { Readiness } from './readiness.ts'
import type { SourceSet } from './sources/source-set.ts'

export interface ReadinessParts {
  readonly sql: Sql
  readonly sourceSql: SourceSql
  readonly pools: Readonly<Record<'state' | 'source', Pick<PoolUsage, 'isWorkingOff'>>>
  readonly sources: Pick<SourceSet, 'watchers'>
  readonly progress: Pick<Progress, 'problems'>
  readonly leases: Pick<Leases, 'problems'>
  readonly pollIntervalMs: number
}

/** A watcher that has completed no look for so long, and for so many poll intervals, does not move. */
const shortestStillMs = 10_000
const stillPolls = 5

/** The probes are the caller's to run. */
export function serviceReadiness(parts: ReadinessParts): {
  readiness: Readiness
  probes: readonly DatabaseProbe[]
} {
  const { sql, sourceSql, pools, progress, leases } = parts
  const state = new DatabaseProbe({
    database: 'state',
    ask: askState(sql),
    isQueued: () => pools.state.isWorkingOff,
  })
  const source = new DatabaseProbe({
    database: 'source',
    ask: async () => {
      await sourceSql.query('SELECT 1')
      return []
    },
    isQueued: () => pools.source.isWorkingOff,
  })
  const readiness = new Readiness({
    'state database': () => state.problems,
    'source database': () => source.problems,
    sources: () => stillSources(parts),
    forwarders: () => progress.problems,
    leases: () => leases.problems,
  })
  return { readiness, probes: [state, source] }
}

function askState(sql: Sql): () => Promise<readonly string[]> {
  const missing = migrationQuestion()
  return async () => {
    const [first, ...others] = await missing(sql)
    if (first === undefined) return []
    const more = others.length > 0 ? ` and ${others.length} more` : ''
    return [`state database: the migration ${first}${more} is missing; run spillway migrate`]
  }
}

/**
 * A source that is misconfigured or held back is its owner's matter: the daemon does all that it can. So it does while
 * many slow pages are read, and looks wait for their turn.
 */
function stillSources({ pools, sources, pollIntervalMs }: ReadinessParts): string[] {
  if (pools.source.isWorkingOff) return []
  const longestMs = Math.max(shortestStillMs, stillPolls * pollIntervalMs)
  return sources.watchers.flatMap(({ definition, stillMs }) =>
    stillMs < longestMs
      ? []
      : [`source ${definition.logType}: not looked at for ${Math.floor(stillMs / 1_000)} s`],
  )
}
