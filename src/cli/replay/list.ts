/** `spillway replay list`: the replays, latest first. */
import { desc, eq } from 'drizzle-orm'
import { destinations, replays } from '../../db/schema.ts'
import { typed } from '../../db/typed.ts'
import { type AddCommand, writeJson, writeLine } from '../command.ts'
import { formatAgo, formatCount } from '../format.ts'
import { withSession } from '../session.ts'
import { renderTable, type TableColumn, terminalWidth } from '../table.ts'
import { type ReplayRow, sentOf, subjectOf, toJson } from './row.ts'

const mostRows = 100

interface Listed extends ReplayRow {
  /** Null when it was deleted. */
  readonly name: string | null
}

export const addList: AddCommand = (group, { env, stdout }) => {
  group
    .command('list')
    .description(`list replays, the latest ${mostRows}`)
    .option('--json', 'print JSON')
    .action(async (_: unknown, command) => {
      const { json } = command.optsWithGlobals() as { json?: true }
      const rows: Listed[] = await withSession(env, async ({ sql }) => {
        const found = await typed(sql)
          .select({ replay: replays, name: destinations.name })
          .from(replays)
          .leftJoin(destinations, eq(destinations.id, replays.destinationId))
          .orderBy(desc(replays.id))
          .limit(mostRows)
        return found.map(({ replay, name }) => ({ ...replay, name }))
      })
      if (json) writeJson(stdout, rows.map(toJson))
      else if (rows.length === 0) writeLine(stdout, 'There is no replay yet.')
      else {
        for (const line of renderTable(columns(Date.now()), rows, terminalWidth(stdout)))
          writeLine(stdout, line)
      }
    })
}

function columns(now: number): readonly TableColumn<Listed>[] {
  return [
    { heading: 'ID', value: ({ id }) => String(id), align: 'right' },
    {
      heading: 'DESTINATION',
      value: ({ destinationId, name }) => `${destinationId} (${name ?? 'deleted'})`,
      shrinks: true,
    },
    { heading: 'WHAT', value: subjectOf, shrinks: true },
    { heading: 'STATE', value: ({ state }) => state },
    { heading: 'SENT', value: sentOf, align: 'right' },
    { heading: 'REFUSED', value: ({ eventsRefused }) => formatCount(eventsRefused), align: 'right' },
    {
      heading: 'NOT SENT',
      value: ({ eventsTooOld, eventsMissing }) => formatCount(eventsTooOld + eventsMissing),
      align: 'right',
    },
    { heading: 'REQUESTED', value: ({ requestedAt }) => formatAgo(requestedAt, now) },
    { heading: 'BY', value: ({ requestedBy }) => requestedBy, shrinks: true },
    { heading: 'LAST ERROR', value: ({ lastError }) => lastError ?? '', shrinks: true },
  ]
}
