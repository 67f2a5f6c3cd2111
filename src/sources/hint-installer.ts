/**
 * Puts the trigger of hint-trigger.ts onto a table and its partitions, and takes it away. All in one
 * transaction that waits for locks only shortly: who waits for a lock on a table keeps all later writers of it
 * waiting too.
 */
import type { Sql } from '../db/client.ts'
import {
  createFunction,
  createTrigger,
  dropTrigger,
  hasHint,
  hintFunction,
  hintName,
} from './hint-trigger.ts'
import { inheritorsOf } from './sequences.ts'

/** Within what applications take for a slow statement. */
const lockTimeoutMs = 2_000

/** What the table is like, as far as the trigger is concerned. */
export interface HintTarget {
  /** With its schema, safe to put into SQL. */
  readonly relation: string
  readonly schema: string
  /** The table, its partitions and their partitions: those that rows can be written to. */
  readonly tables: readonly HintTable[]
  /** The role of the connection. */
  readonly role: string
  readonly mayCreateFunctions: boolean
  /** Prepared transactions are allowed on the server. */
  readonly preparedTransactions: boolean
}

interface HintTable {
  readonly relation: string
  readonly owner: string
  /** The role of the connection is its owner, or a member of it. */
  readonly owned: boolean
  readonly installed: boolean
}

/** Undefined where there is no such table. */
export async function readHintTarget(
  sql: Sql,
  relation: string,
  logType: string,
): Promise<HintTarget | undefined> {
  const [root] = await sql<
    { oid: string; relation: string; schema: string; role: string; may: boolean; prepared: boolean }[]
  >`SELECT c.oid::text AS oid, format('%I.%I', n.nspname, c.relname) AS relation, n.nspname AS schema,
           current_user AS role, has_schema_privilege(n.oid, 'CREATE') AS may,
           current_setting('max_prepared_transactions')::int > 0 AS prepared
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = to_regclass(${relation}) AND c.relkind IN ('r', 'p')`
  if (!root) return undefined
  const tables = await sql.unsafe<HintTable[]>(
    `SELECT format('%I.%I', n.nspname, c.relname) AS relation, pg_get_userbyid(c.relowner) AS owner,
            pg_has_role(c.relowner, 'USAGE') AS owned, ${hasHint('c.oid', logType)} AS installed
     FROM (${inheritorsOf('$1::oid')}) AS i(oid) JOIN pg_class c ON c.oid = i.oid
     JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p') ORDER BY c.oid <> $1::oid, 1`,
    [root.oid],
  )
  return {
    relation: root.relation,
    schema: root.schema,
    tables: [...tables],
    role: root.role,
    mayCreateFunctions: root.may,
    preparedTransactions: root.prepared,
  }
}

/** What installs the trigger where it is not yet; safe to run again. */
export function planInstall({ schema, tables }: HintTarget, logType: string): string[] {
  const name = hintFunction(schema, logType)
  const missing = tables.filter(({ installed }) => !installed)
  return [
    ...createFunction(name, logType),
    ...missing.flatMap(({ relation }) => [
      dropTrigger(relation, logType),
      createTrigger(relation, logType, name),
    ]),
  ]
}

/** A function of this name and the tables whose triggers call it: also such as the source has left behind. */
interface HintFunction {
  readonly name: string
  readonly tables: readonly string[]
}

export async function planRemoval(sql: Sql, logType: string): Promise<string[]> {
  const rows = await sql<{ name: string; tables: string }[]>`
    SELECT format('%I.%I', n.nspname, p.proname) AS name,
           (SELECT coalesce(json_agg(format('%I.%I', m.nspname, c.relname) ORDER BY c.oid), '[]')::text
            FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace m ON m.oid = c.relnamespace
            WHERE t.tgfoid = p.oid) AS tables
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE p.proname = ${hintName(logType)} AND p.prorettype = 'trigger'::regtype AND p.pronargs = 0
    ORDER BY 1`
  const functions: HintFunction[] = rows.map(({ name, tables }) => ({ name, tables: JSON.parse(tables) }))
  return functions.flatMap(({ name, tables }) => [
    ...tables.map((relation) => dropTrigger(relation, logType)),
    `DROP FUNCTION ${name}()`,
  ])
}

/** All or nothing. Throws the database's own errors; 55P03 where the table stayed locked. */
export async function runPlan(sql: Sql, statements: readonly string[]): Promise<void> {
  await sql.begin(async (transaction) => {
    await transaction.unsafe(`SET LOCAL lock_timeout = ${lockTimeoutMs}`)
    for (const statement of statements) await transaction.unsafe(statement)
  })
}
