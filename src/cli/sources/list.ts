/** `spillway sources list`: every registered audit table, and whether it can be read. */
import { eq } from 'drizzle-orm'
import type { SourceSql, Sql } from '../../db/client.ts'
import { sourceState, sources } from '../../db/schema.ts'
import { typed } from '../../db/typed.ts'
import { SourceError } from '../../errors.ts'
import { hasHint } from '../../sources/hint-trigger.ts'
import { type AddCommand, writeJson, writeLine } from '../command.ts'
import { withSession } from '../session.ts'
import { printable, renderTable, type TableColumn, terminalWidth } from '../table.ts'
import { probeSource } from './probe.ts'

type Row = Awaited<ReturnType<typeof select>>[number]
/** `hinted`: whether the table tells of its rows; undefined where it cannot be read. */
type ProbedRow = Row & { readonly problem?: SourceError; readonly hinted?: boolean }

export const addList: AddCommand = (group, { env, stdout }) => {
  group
    .command('list')
    .description('list sources, and whether each can be read')
    .option('--json', 'print JSON')
    .action(async ({ json }: { json?: true }) => {
      const rows = await withSession(env, async ({ sql, source }) => {
        const sourceSql = await source()
        const probed: ProbedRow[] = []
        for (const row of await select(sql)) {
          const problem = await problemOf(() => probeSource(sourceSql, { ...row, revision: '' }))
          if (problem) probed.push({ ...row, problem })
          else probed.push({ ...row, hinted: await isHinted(sourceSql, row) })
        }
        return probed
      })
      if (json) {
        writeJson(stdout, rows.map(toJson))
        return
      }
      for (const line of renderTable(columns, rows, terminalWidth(stdout))) writeLine(stdout, line)
      for (const { problem } of rows) {
        if (!problem) continue
        writeLine(stdout)
        writeLine(stdout, printable(problem.message))
        writeLine(stdout, printable(problem.hint))
      }
    })
}

function select(sql: Sql) {
  return typed(sql)
    .select({
      logType: sources.logType,
      relation: sources.relation,
      idColumn: sources.idColumn,
      orgColumn: sources.orgColumn,
      timestampColumn: sources.timestampColumn,
      ordering: sources.ordering,
      xactColumn: sources.xactColumn,
      excludeColumns: sources.excludeColumns,
      enabled: sources.enabled,
      horizon: sourceState.horizon,
    })
    .from(sources)
    .leftJoin(sourceState, eq(sourceState.logType, sources.logType))
    .orderBy(sources.logType)
}

async function isHinted(sql: SourceSql, { relation, logType }: Row): Promise<boolean> {
  const [row] = await sql.query<{ hinted: string }>(
    `SELECT ${hasHint('to_regclass($1)', logType)} AS hinted`,
    [relation],
  )
  return row?.hinted === 't'
}

async function problemOf(probe: () => Promise<unknown>): Promise<SourceError | undefined> {
  try {
    await probe()
    return undefined
  } catch (error) {
    if (error instanceof SourceError) return error
    throw error
  }
}

const columns: readonly TableColumn<ProbedRow>[] = [
  { heading: 'LOG TYPE', value: ({ logType }) => logType },
  { heading: 'RELATION', value: ({ relation }) => relation, shrinks: true },
  { heading: 'ORDERING', value: ({ ordering }) => ordering },
  { heading: 'ID', value: ({ idColumn }) => idColumn, shrinks: true },
  { heading: 'ORG', value: ({ orgColumn }) => orgColumn ?? '(none)', shrinks: true },
  { heading: 'TIMESTAMP', value: ({ timestampColumn }) => timestampColumn, shrinks: true },
  { heading: 'EXCLUDED', value: ({ excludeColumns }) => excludeColumns.join(','), shrinks: true },
  { heading: 'HORIZON', value: ({ horizon }) => horizon ?? '', align: 'right' },
  {
    heading: 'STATE',
    value: ({ enabled, problem }) => (problem ? 'unreadable' : enabled ? 'ok' : 'disabled'),
  },
  { heading: 'NOTIFY', value: ({ hinted }) => (hinted === undefined ? '' : hinted ? 'on' : 'off') },
]

function toJson(row: ProbedRow) {
  return {
    log_type: row.logType,
    relation: row.relation,
    ordering: row.ordering,
    id_column: row.idColumn,
    org_column: row.orgColumn,
    timestamp_column: row.timestampColumn,
    exclude_columns: row.excludeColumns,
    enabled: row.enabled,
    horizon: row.horizon,
    notify: row.hinted ?? null,
    readable: row.problem === undefined,
    problem: row.problem?.message ?? null,
    hint: row.problem?.hint ?? null,
  }
}
