/** `spillway replay skipped`: the ranges that were skipped and not replayed, with the ids that `--skipped` takes. */
import { and, desc, eq, isNull } from 'drizzle-orm'
import { skippedRanges } from '../../db/schema.ts'
import { typed } from '../../db/typed.ts'
import { type AddCommand, writeJson, writeLine } from '../command.ts'
import { findDestination } from '../destinations/find.ts'
import { formatAgo, formatCount } from '../format.ts'
import { withSession } from '../session.ts'
import { renderTable, type TableColumn, terminalWidth } from '../table.ts'

const mostRows = 100

type Range = typeof skippedRanges.$inferSelect

export const addSkipped: AddCommand = (group, { env, stdout }) => {
  group
    .command('skipped')
    .description(`list skipped ranges that were not replayed, the latest ${mostRows}`)
    .argument('[id or name]', 'only those of this destination')
    .option('--json', 'print JSON')
    .action(async (idOrName: string | undefined, _: unknown, command) => {
      const { json } = command.optsWithGlobals() as { json?: true }
      const rows = await withSession(env, async ({ sql }) => {
        const destination = idOrName === undefined ? undefined : await findDestination(sql, idOrName)
        const its = destination && eq(skippedRanges.destinationId, destination.id)
        const query = typed(sql).select().from(skippedRanges)
        return query
          .where(and(isNull(skippedRanges.replayedAt), its))
          .orderBy(desc(skippedRanges.id))
          .limit(mostRows)
      })
      if (json) writeJson(stdout, rows.map(toJson))
      else if (rows.length === 0) writeLine(stdout, 'No range was skipped that has not been replayed.')
      else {
        for (const line of renderTable(columns(Date.now()), rows, terminalWidth(stdout)))
          writeLine(stdout, line)
      }
    })
}

function columns(now: number): readonly TableColumn<Range>[] {
  return [
    { heading: 'ID', value: ({ id }) => String(id), align: 'right' },
    { heading: 'DESTINATION', value: ({ destinationId }) => String(destinationId), align: 'right' },
    { heading: 'LOG TYPE', value: ({ logType }) => logType },
    { heading: 'AFTER', value: ({ fromPosition }) => fromPosition, shrinks: true },
    { heading: 'UP TO', value: ({ toPosition }) => toPosition, shrinks: true },
    {
      heading: 'EVENTS',
      value: ({ eventCount }) => (eventCount === null ? 'unknown' : formatCount(eventCount)),
      align: 'right',
    },
    { heading: 'REASON', value: ({ reason }) => reason },
    { heading: 'SKIPPED', value: ({ createdAt }) => formatAgo(createdAt, now) },
  ]
}

function toJson(row: Range) {
  return {
    id: row.id,
    destination_id: row.destinationId,
    log_type: row.logType,
    from_position: row.fromPosition,
    to_position: row.toPosition,
    event_count: row.eventCount,
    reason: row.reason,
    created_at: row.createdAt,
  }
}
