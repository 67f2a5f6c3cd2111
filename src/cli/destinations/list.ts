/** `spillway destinations list`: every destination and how it is doing. Prints no config at all (I8). */
import { eq } from 'drizzle-orm'
import type { Sql } from '../../db/client.ts'
import { deliveryState, destinations } from '../../db/schema.ts'
import { typed } from '../../db/typed.ts'
import { maxEventsCounted } from '../../delivery/lag.ts'
import { type AddCommand, writeJson, writeLine } from '../command.ts'
import { formatAgo, formatCountOf, formatDuration } from '../format.ts'
import { withSession } from '../session.ts'
import { renderTable, type TableColumn, terminalWidth } from '../table.ts'

interface Options {
  readonly org?: string
  readonly json?: true
}

type Row = Awaited<ReturnType<typeof select>>[number]

export const addList: AddCommand = (group, { env, stdout }) => {
  group
    .command('list')
    .description('list destinations with their state')
    .option('--org <org>', 'only those of this org (not those for all orgs)')
    .option('--json', 'print JSON')
    .action(async ({ org, json }: Options) => {
      const rows = await withSession(env, ({ sql }) => select(sql, org))
      if (json) writeJson(stdout, rows.map(toJson))
      else if (rows.length === 0) {
        writeLine(stdout, `There is no destination${org === undefined ? '' : ` of org ${org}`} yet.`)
        writeLine(stdout, 'Add one with `spillway destinations add`, or with an INSERT (see the README).')
      } else {
        const lines = renderTable(columns(Date.now()), rows, terminalWidth(stdout))
        for (const line of lines) writeLine(stdout, line)
      }
    })
}

/** Named one by one: a column with a credential must never get in by itself. */
function select(sql: Sql, org: string | undefined) {
  const query = typed(sql)
    .select({
      id: destinations.id,
      orgId: destinations.orgId,
      name: destinations.name,
      type: destinations.type,
      logTypes: destinations.logTypes,
      enabled: destinations.enabled,
      status: deliveryState.status,
      consecutiveFailures: deliveryState.consecutiveFailures,
      nextAttemptAt: deliveryState.nextAttemptAt,
      lastSuccessAt: deliveryState.lastSuccessAt,
      lastError: deliveryState.lastError,
      lastErrorAt: deliveryState.lastErrorAt,
      lagEvents: deliveryState.lagEvents,
      lagSeconds: deliveryState.lagSeconds,
      lagAt: deliveryState.lagAt,
      eventsDelivered: deliveryState.eventsDelivered,
      eventsSkipped: deliveryState.eventsSkipped,
      eventsDeadLettered: deliveryState.eventsDeadLettered,
      batchesDelivered: deliveryState.batchesDelivered,
    })
    .from(destinations)
    .innerJoin(deliveryState, eq(deliveryState.destinationId, destinations.id))
  return query.where(org === undefined ? undefined : eq(destinations.orgId, org)).orderBy(destinations.id)
}

function columns(now: number): readonly TableColumn<Row>[] {
  return [
    { heading: 'ID', value: ({ id }) => String(id), align: 'right' },
    { heading: 'ORG', value: ({ orgId }) => orgId ?? '(all)', shrinks: true },
    { heading: 'NAME', value: ({ name }) => name, shrinks: true },
    { heading: 'TYPE', value: ({ type }) => type },
    { heading: 'LOG TYPES', value: ({ logTypes }) => logTypes.join(','), shrinks: true },
    { heading: 'STATUS', value: ({ status }) => status },
    { heading: 'LAG', value: formatLag },
    { heading: 'LAST SUCCESS', value: ({ lastSuccessAt }) => formatAgo(lastSuccessAt, now) },
    {
      heading: 'LAST ERROR',
      value: ({ lastError, lastErrorAt }) =>
        lastError === null ? '' : `${formatAgo(lastErrorAt, now)}: ${lastError}`,
      shrinks: true,
    },
  ]
}

function toJson(row: Row) {
  return {
    id: row.id,
    org_id: row.orgId,
    name: row.name,
    type: row.type,
    log_types: row.logTypes,
    enabled: row.enabled,
    status: row.status,
    consecutive_failures: row.consecutiveFailures,
    next_attempt_at: row.nextAttemptAt,
    last_success_at: row.lastSuccessAt,
    last_error: row.lastError,
    last_error_at: row.lastErrorAt,
    lag_events: row.lagEvents,
    lag_seconds: row.lagSeconds,
    lag_at: row.lagAt,
    events_delivered: row.eventsDelivered,
    events_skipped: row.eventsSkipped,
    events_dead_lettered: row.eventsDeadLettered,
    batches_delivered: row.batchesDelivered,
  }
}

/** `120 events, 3 min`; nothing where it is not known. */
function formatLag({ lagEvents, lagSeconds }: Row): string {
  if (lagEvents === null) return ''
  if (lagEvents === 0) return 'none'
  const atLeast = lagEvents >= maxEventsCounted ? '≥ ' : ''
  return `${atLeast}${formatCountOf(lagEvents, 'event')}, ${formatDuration((lagSeconds ?? 0) * 1_000)}`
}
