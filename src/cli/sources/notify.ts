/** `spillway sources notify`: rows of a source are told of as soon as they are committed. */
import { errorCode } from '../../db/availability.ts'
import type { Sql } from '../../db/client.ts'
import { quoteIdentifier } from '../../events/columns.ts'
import {
  type HintTarget,
  planInstall,
  planRemoval,
  readHintTarget,
  runPlan,
} from '../../sources/hint-installer.ts'
import { type AddCommand, CommandError, writeJson, writeLine } from '../command.ts'
import { formatCountOf } from '../format.ts'
import { withSession } from '../session.ts'
import { printable } from '../table.ts'
import { findSource } from './find.ts'

interface Options {
  readonly remove?: true
  readonly json?: true
}

const afterHelp = `
Without it the daemon finds new rows by polling, every SPILLWAY_POLL_INTERVAL_MS. With it a trigger on the table,
once for each statement that inserts, sends a NOTIFY, and the daemon looks at once. It is a hint and nothing
depends on it: whatever is not told of is found by polling.

What it costs: commits that notify wait for each other on one lock of the server, also those of other databases.
A table with thousands of committing transactions a second is better left to polling. PREPARE TRANSACTION fails
in a transaction that has notified: for roles that use two-phase commit,
  ALTER ROLE the_role SET spillway.notify = off

The role of the connection must own the table. Partitions get the trigger too, for rows that are written
straight into them; run the command again for partitions that were made later.`

export const addNotify: AddCommand = (group, { env, stdout }) => {
  group
    .command('notify')
    .description('have a table tell of new rows, so that they are sent within milliseconds')
    .argument('<log type>', 'the source')
    .option('--remove', 'take the trigger and its function away')
    .option('--json', 'print JSON')
    .addHelpText('after', afterHelp)
    .action(async (logType: string, options: Options) => {
      try {
        const result = await withSession(env, async (session) => {
          const sql = await session.writableSource()
          if (options.remove) return remove(sql, logType)
          const { relation } = await findSource(session.sql, logType)
          return install(sql, logType, relation)
        })
        if (options.json) writeJson(stdout, { log_type: logType, ...result })
        else for (const line of told(logType, result)) writeLine(stdout, line)
      } catch (error) {
        if (!(error instanceof RefusedError)) throw error
        // On stdout, for a file or a pipe to psql; the reason goes where errors go.
        if (options.json) writeJson(stdout, { log_type: logType, effect: 'refused', sql: error.plan })
        else for (const line of script(error.plan)) writeLine(stdout, line)
        throw error
      }
    })
}

/** Somebody else has to do it. */
class RefusedError extends CommandError {
  readonly plan: readonly string[]

  constructor(message: string, hint: string, plan: readonly string[], options?: ErrorOptions) {
    super(message, hint, options)
    this.name = 'RefusedError'
    this.plan = plan
  }
}

interface Result {
  readonly effect: 'installed' | 'unchanged' | 'removed'
  /** Tables that have the trigger now. */
  readonly tables: readonly string[]
  /** What was run. */
  readonly sql: readonly string[]
  readonly warnings: readonly string[]
}

async function install(sql: Sql, logType: string, relation: string): Promise<Result> {
  const target = await readHintTarget(sql, relation, logType)
  if (!target) {
    throw new CommandError(
      `There is no table ${relation} that this role can see.`,
      '`spillway sources list` shows what is registered; the role needs USAGE on the schema.',
    )
  }
  const plan = planInstall(target, logType)
  refuseStrangers(target, plan)
  await run(sql, plan)
  const isNew = target.tables.some(({ installed }) => !installed)
  return {
    effect: isNew ? 'installed' : 'unchanged',
    tables: target.tables.map((table) => table.relation),
    sql: plan,
    warnings: target.preparedTransactions ? [preparedWarning] : [],
  }
}

const preparedWarning =
  'This server allows prepared transactions: PREPARE TRANSACTION fails after an INSERT into the table. For roles that use it: ALTER ROLE the_role SET spillway.notify = off.'

async function remove(sql: Sql, logType: string): Promise<Result> {
  const plan = await planRemoval(sql, logType)
  await run(sql, plan)
  return { effect: plan.length > 0 ? 'removed' : 'unchanged', tables: [], sql: plan, warnings: [] }
}

/** Triggers are the owner's business. Nothing is tried, so that nothing is half done. */
function refuseStrangers({ tables, role, schema, mayCreateFunctions }: HintTarget, plan: readonly string[]) {
  const foreign = tables.find(({ owned }) => !owned)
  if (foreign) {
    throw new RefusedError(
      `The role ${role} does not own ${foreign.relation}; ${foreign.owner} does. Nothing was changed.`,
      'Run the command as the owner, or let the owner run the SQL above.',
      plan,
    )
  }
  if (!mayCreateFunctions) {
    throw new RefusedError(
      `The role ${role} may not create functions in the schema ${schema}. Nothing was changed.`,
      `GRANT CREATE ON SCHEMA ${quoteIdentifier(schema)} to it, or let somebody who may run the SQL above.`,
      plan,
    )
  }
}

async function run(sql: Sql, plan: readonly string[]): Promise<void> {
  if (plan.length === 0) return
  try {
    await runPlan(sql, plan)
  } catch (error) {
    throw explain(error, plan)
  }
}

function explain(error: unknown, plan: readonly string[]): unknown {
  const said = error instanceof Error ? error.message : ''
  switch (errorCode(error)) {
    case '55P03':
      return new CommandError(
        'The table was in use for too long; waiting would have held up its writers. Nothing was changed.',
        'Run it again, best when no long transaction writes to the table.',
        { cause: error },
      )
    case '42501':
      return new RefusedError(
        `The database refuses it: ${said}. Nothing was changed.`,
        'Let the owner of the table run the SQL above.',
        plan,
        { cause: error },
      )
    default:
      return error
  }
}

function script(plan: readonly string[]): string[] {
  return plan.flatMap((statement) => `${statement};`.split('\n')).map(printable)
}

function told(logType: string, { effect, tables, sql, warnings }: Result): string[] {
  const lines: string[] = []
  if (effect === 'removed') {
    lines.push(`${logType} does not tell of new rows any more; they are found by polling.`)
  } else if (tables.length === 0) {
    lines.push(`${logType} did not tell of new rows. Nothing was changed.`)
  } else {
    const where =
      tables.length === 1 ? tables[0] : `${tables[0]} and ${formatCountOf(tables.length - 1, 'partition')}`
    lines.push(
      effect === 'installed'
        ? `${where} tells of new rows of ${logType} from now on. A running daemon notices by itself.`
        : `${where} told of new rows of ${logType} already. The function was written anew.`,
    )
  }
  if (sql.length > 0) lines.push('', 'What was run:', '', ...script(sql))
  for (const warning of warnings) lines.push('', warning)
  return lines
}
