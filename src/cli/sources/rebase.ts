/** `spillway sources rebase`: sets the cursors of a source anew after it went back in time. */
import type { FieldProblem } from '../../../providers/provider.ts'
import { ConfigError } from '../../errors.ts'
import { planRebase, type Rebase, type RebaseFrom, rebase } from '../../sources/rebase.ts'
import { type AddCommand, writeJson, writeLine } from '../command.ts'
import { formatCount, formatCountOf } from '../format.ts'
import { withSession } from '../session.ts'
import { renderTable, type TableColumn, terminalWidth } from '../table.ts'
import { findSource } from './find.ts'

interface Options {
  readonly from: string
  readonly dryRun?: true
  readonly json?: true
}

const afterHelp = `
After TRUNCATE … RESTART IDENTITY or a restore from a backup, new rows come at positions that were read
already; the daemon stops such a source and says source.rewound. This command moves cursors back, never
forward. Without --from every row that is in the table now is delivered (again, where it had been: with the
same event ids). Where you know when the source was restored, --from with that time spares the repeats.

A table with the ordering xact that was copied into another cluster by dump and restore is updated once: its
rows get transactions of the new cluster, which takes the right to UPDATE it.`

export const addRebase: AddCommand = (group, { env, stdout }) => {
  group
    .command('rebase')
    .description('set cursors anew after a source went back in time')
    .argument('<log type>', 'the source')
    .option(
      '--from <place>',
      'where new rows begin: beginning, a position or an ISO 8601 instant',
      'beginning',
    )
    .option('--dry-run', 'say what would be done, and change nothing')
    .option('--json', 'print JSON')
    .addHelpText('after', afterHelp)
    .action(async (logType: string, options: Options) => {
      const from = parseFrom(options.from)
      const result = await withSession(env, async (session) => {
        const definition = await findSource(session.sql, logType)
        const deps = {
          sql: session.sql,
          source: await session.source(),
          writable: () => session.writableSource(),
        }
        return options.dryRun ? planRebase(deps, definition, from) : rebase(deps, definition, from)
      })
      const done = options.dryRun !== true
      if (options.json) writeJson(stdout, { log_type: logType, done, ...toJson(result) })
      else for (const line of told(logType, result, done, terminalWidth(stdout))) writeLine(stdout, line)
    })
}

/** A position is digits, or a transaction with a key; anything else must be a time. */
function parseFrom(text: string): RebaseFrom {
  const place = text.trim()
  if (place === 'beginning') return { kind: 'beginning' }
  if (/^-?\d+(\/.*)?$/.test(place)) return { kind: 'position', position: place }
  if (/^\d{4}-\d{2}-\d{2}/.test(place) && !Number.isNaN(Date.parse(place))) {
    return { kind: 'instant', instant: place }
  }
  const problem: FieldProblem = {
    field: '--from',
    problem: 'must be beginning, a position such as 42, or an ISO 8601 instant such as 2026-11-22T10:00:00Z',
  }
  throw new ConfigError([problem])
}

type Cursor = Rebase['cursors'][number]

const columns: readonly TableColumn<Cursor>[] = [
  { heading: 'DESTINATION', value: ({ destinationId, name }) => `${destinationId} (${name})`, shrinks: true },
  { heading: 'ORG', value: ({ orgId }) => orgId ?? '(all)', shrinks: true },
  { heading: 'FROM', value: ({ position }) => position },
  { heading: 'TO', value: ({ to }) => to },
  { heading: 'EVENTS AFTER IT', value: ({ events }) => formatCount(events), align: 'right' },
]

function told(
  logType: string,
  { cursors, foreignRows, horizon }: Rebase,
  done: boolean,
  width: number | undefined,
): string[] {
  const moved = cursors.filter(({ position, to }) => position !== to)
  const lines: string[] = []
  if (foreignRows > 0) {
    lines.push(
      `${formatCountOf(foreignRows, 'row')} ${done ? 'carried' : 'carry'} transactions of another cluster; ` +
        `those that were not delivered ${done ? 'got' : 'would get'} a new one of this cluster.`,
    )
  }
  lines.push(
    `${done ? 'Set' : 'Would set'} ${formatCountOf(moved.length, 'cursor')} of ${logType} anew, of ${formatCount(cursors.length)}.`,
  )
  if (cursors.length > 0) lines.push('', ...renderTable(columns, cursors, width))
  if (horizon !== undefined && moved.length > 0) {
    lines.push(
      '',
      `The source had been read up to ${horizon}. What destinations had not got of that by then, and is not in the`,
      `table any more, ${done ? 'is' : 'would be'} recorded in spillway.skipped_ranges with the reason source_rewound.`,
    )
  }
  if (done) lines.push('', 'A running daemon reads the source again within seconds.')
  return lines
}

function toJson({ cursors, foreignRows, horizon }: Rebase) {
  return {
    former_horizon: horizon ?? null,
    foreign_rows: foreignRows,
    cursors: cursors.map(({ destinationId, name, orgId, position, to, events }) => ({
      destination_id: destinationId,
      name,
      org_id: orgId,
      from_position: position,
      to_position: to,
      events_after: events,
    })),
  }
}
