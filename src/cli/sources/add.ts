/** `spillway sources add`: looks an audit table up as the daemon would, then registers it. */
import { eq, sql as raw } from 'drizzle-orm'
import type { FieldProblem } from '../../../providers/provider.ts'
import { destinations, sources } from '../../db/schema.ts'
import { type Db, typed } from '../../db/typed.ts'
import { ConfigError } from '../../errors.ts'
import type { Source, SourceDefinition } from '../../sources/source.ts'
import { type AddCommand, CommandError, writeJson, writeLine } from '../command.ts'
import { formatCountOf } from '../format.ts'
import { parseList, requireText } from '../options.ts'
import { withSession } from '../session.ts'
import { probeSource, qualifiedName } from './probe.ts'

interface Options {
  readonly relation?: string
  readonly idColumn: string
  readonly orgColumn?: string
  /** `false` with --no-org. */
  readonly org: boolean
  readonly timestampColumn?: string
  /** With it the ordering is `xact`. */
  readonly xactColumn?: string
  readonly excludeColumns?: string
  readonly replace?: true
  readonly json?: true
}

type Effect = 'added' | 'replaced' | 'repointed'

const afterHelp = `
Examples:
  spillway sources add login --relation 'public."loginLog"' --org-column tenant --timestamp-column at
  spillway sources add visit --relation visit --org-column tenant --timestamp-column at --xact-column xact

Keys that are not drawn from a sequence (uuid, ULID, cuid, ids reserved in blocks) need a column
  xact xid8 NOT NULL DEFAULT pg_current_xact_id()
and indexes on (tenant, xact, id) and (xact, id).

With --replace, another relation or id column makes the positions of the old table mean nothing: what its
destinations had not yet got is recorded in spillway.skipped_ranges (reason source_repointed), and their
cursors start anew, at "now" or where each destination's start_from says. Other columns leave cursors alone.`

export const addAdd: AddCommand = (group, { env, stdout }) => {
  group
    .command('add')
    .description('register an audit table under a log type')
    .argument('<log type>', 'a word of its own, such as login')
    .option('--relation <name>', 'the table as it is written in SQL (required)')
    .option('--id-column <column>', 'its key: from a sequence or identity, or any with --xact-column', 'id')
    .option('--org-column <column>', 'the column with the tenant; this or --no-org')
    .option('--no-org', 'its rows belong to no tenant: only destinations for all orgs may have them')
    .option('--timestamp-column <column>', 'when it happened (required)')
    .option('--xact-column <column>', 'the column with the writing transaction: for keys that do not rise')
    .option('--exclude-columns <list>', 'columns that never leave the database')
    .option('--replace', 'change the source that has this log type already')
    .option('--json', 'print JSON')
    .addHelpText('after', afterHelp)
    .action(async (logType: string, options: Options) => {
      const definition = parseDefinition(logType, options)
      const result = await withSession(env, async (session) => {
        const sourceSql = await session.source()
        const source = await probeSource(sourceSql, definition)
        await session.markSeparateSource()
        const qualify = (name: string) => qualifiedName(sourceSql, name)
        const relation = (await qualify(definition.relation)) ?? definition.relation
        const wanted = { ...definition, relation }
        return { source, ...(await save(typed(session.sql), wanted, options.replace === true, qualify)) }
      })
      if (options.json) {
        const { source, ...saved } = result
        writeJson(stdout, { log_type: logType, fence: source.fence, ...saved })
      } else for (const line of told(result)) writeLine(stdout, line)
    })
}

function parseDefinition(logType: string, options: Options): SourceDefinition {
  const problems: FieldProblem[] = []
  if (!/^[a-z][a-z0-9_-]{0,62}$/.test(logType)) {
    const problem = 'must be lower-case letters, digits, _ and -, a letter first, at most 63 characters'
    problems.push({ field: 'log type', problem })
  }
  const { org, orgColumn } = options
  const field = '--org-column'
  if (org && orgColumn === undefined) {
    problems.push({ field, problem: 'is missing; name the column with the tenant, or say --no-org' })
  } else if (!org && orgColumn !== undefined) {
    problems.push({ field, problem: 'contradicts --no-org; give one' })
  } else if (orgColumn !== undefined) requireText(orgColumn, field, problems)
  const definition: SourceDefinition = {
    logType,
    relation: requireText(options.relation, '--relation', problems),
    idColumn: requireText(options.idColumn, '--id-column', problems),
    orgColumn: orgColumn?.trim() ?? null,
    timestampColumn: requireText(options.timestampColumn, '--timestamp-column', problems),
    ordering: options.xactColumn === undefined ? 'id' : 'xact',
    xactColumn:
      options.xactColumn === undefined ? null : requireText(options.xactColumn, '--xact-column', problems),
    revision: '',
    excludeColumns: parseList(options.excludeColumns),
    enabled: true,
  }
  if (problems.length > 0) throw new ConfigError(problems)
  return definition
}

interface Saved {
  readonly effect: Effect
  readonly relation: string
  /** How many destinations get this log type. */
  readonly destinations: number
  /** Of them, those of one org that may no longer have it. */
  readonly invalidated: number
}

/** Cursors follow by triggers (migrations/0001_triggers.sql), in the same transaction. */
function save(
  db: Db,
  definition: SourceDefinition,
  replace: boolean,
  qualify: (relation: string) => Promise<string | undefined>,
): Promise<Saved> {
  const { logType, revision: _, ...columns } = definition
  const values = { ...columns, excludeColumns: [...columns.excludeColumns] }
  return db.transaction(async (tx) => {
    const [before] = await tx.select().from(sources).where(eq(sources.logType, logType)).for('update')
    if (before && !replace) {
      throw new CommandError(
        `The log type ${logType} is registered already, for ${before.relation}.`,
        'Choose another log type, or add --replace (see --help for what that does to cursors).',
      )
    }
    const users = await tx
      .select({ orgId: destinations.orgId })
      .from(destinations)
      .where(raw`${logType} = ANY (${destinations.logTypes})`)
    const tenants = users.filter(({ orgId }) => orgId !== null).length
    const counts = {
      destinations: users.length,
      invalidated: definition.orgColumn === null ? tenants : 0,
    }
    if (!before) {
      await tx.insert(sources).values({ logType, ...values })
      return { effect: 'added', relation: definition.relation, ...counts }
    }
    // The same table in another spelling is no other table: its cursors must not start anew.
    const isSame = (await qualify(before.relation)) === definition.relation
    const relation = isSame ? before.relation : definition.relation
    await tx
      .update(sources)
      .set({ ...values, relation })
      .where(eq(sources.logType, logType))
    const moved =
      before.relation !== relation ||
      before.idColumn !== definition.idColumn ||
      before.ordering !== definition.ordering ||
      before.xactColumn !== definition.xactColumn
    return { effect: moved ? 'repointed' : 'replaced', relation, ...counts }
  })
}

function told({
  source,
  effect,
  relation,
  destinations,
  invalidated,
}: Saved & { readonly source: Source }): string[] {
  const { logType } = source.definition
  const count = formatCountOf(destinations, 'destination')
  const lines = [`${effect === 'added' ? 'Added' : 'Changed'} source ${logType}: ${relation}.`]
  if (effect === 'added') {
    lines.push('A running daemon reads it within a second. Destinations get it by their log_types.')
  } else if (effect === 'replaced') {
    lines.push(`It is the same table: the cursors of ${count} stay where they are.`)
  } else {
    lines.push(
      `The cursors of ${count} started anew. What they had not yet got of the old table is recorded in`,
      'spillway.skipped_ranges with the reason source_repointed.',
    )
  }
  if (source.fence === 'table') {
    lines.push(
      `No sequence feeds ${source.definition.idColumn}: rows are safe only if each id is drawn after its`,
      'transaction has first written to the table.',
    )
  }
  if (invalidated > 0) {
    lines.push(
      `Without an org column ${formatCountOf(invalidated, 'destination')} of single orgs cannot have it and`,
      'become invalid until the log type is taken from them.',
    )
  }
  return lines
}
