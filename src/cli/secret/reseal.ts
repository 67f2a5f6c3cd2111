/**
 * Encrypts secrets inside rows of destinations, in place. Each row is one UPDATE that holds only if the row still
 * has the version that was read, so an edit made meanwhile is never overwritten. Only the secrets' own texts are
 * replaced: the rest of the config stays as PostgreSQL has it, digit for digit.
 */
import { isObject, isSealed } from '../../../providers/fields.ts'
import type { ConfigPath, DestinationType } from '../../../providers/provider.ts'
import type { Sql } from '../../db/client.ts'
import { type SecretKey, seal, sealedWith, unseal } from '../../destinations/sealing.ts'
import { findSecrets } from '../../destinations/secrets.ts'

export interface ResealOptions {
  readonly sql: Sql
  readonly types: ReadonlyMap<string, DestinationType>
  /** The first one encrypts. */
  readonly keys: readonly [SecretKey, ...SecretKey[]]
  /** Which secrets are encrypted: those under an older key, those in plain text. */
  readonly which: ReadonlySet<'old' | 'plain'>
  readonly dryRun: boolean
}

export interface Resealed {
  readonly id: number
  readonly orgId: string | null
  readonly name: string
  /** Places that are, or would be, encrypted anew. */
  readonly places: readonly string[]
  /** What stays as it is, and why. */
  readonly problems: readonly string[]
}

interface Row {
  readonly id: string
  readonly org_id: string | null
  readonly name: string
  readonly type: string
  readonly config: string
  readonly version: string
}

const pageSize = 500
/** An edit beats us to it now and then; one that does so every time is a loop of somebody else's. */
const maxTries = 5

/** Goes over all rows, by rising id. */
export async function* resealAll(options: ResealOptions): AsyncGenerator<Resealed> {
  let last = '0'
  for (;;) {
    const rows = await options.sql<Row[]>`
      SELECT id::text, org_id, name, type, config::text, version::text FROM spillway.destinations d
      WHERE id > ${last}::text::bigint ORDER BY d.id LIMIT ${pageSize}::int`
    for (const row of rows) {
      const done = await reseal(row, options)
      if (done !== undefined) yield done
    }
    const end = rows.at(-1)
    if (end === undefined) return
    last = end.id
  }
}

/** One row; undefined when there is none. */
export async function resealOne(id: number, options: ResealOptions): Promise<Resealed | undefined> {
  const row = await readRow(options.sql, String(id))
  return row && reseal(row, options)
}

async function readRow(sql: Sql, id: string): Promise<Row | undefined> {
  const [row] = await sql<Row[]>`
    SELECT id::text, org_id, name, type, config::text, version::text FROM spillway.destinations
    WHERE id = ${id}::text::bigint`
  return row
}

/** Undefined when the row was deleted meanwhile. */
async function reseal(read: Row, options: ResealOptions): Promise<Resealed | undefined> {
  let row: Row | undefined = read
  for (let tries = 0; row && tries < maxTries; tries += 1) {
    const { changes, problems } = plan(row, options)
    const { name, org_id: orgId } = row
    const done = { id: Number(row.id), orgId, name, places: changes.map(({ at }) => at.join('.')), problems }
    if (changes.length === 0 || options.dryRun || (await write(options.sql, row, changes))) return done
    row = await readRow(options.sql, row.id)
  }
  if (row === undefined) return undefined
  const problems = ['was edited by somebody else each time it was to be written']
  return { id: Number(row.id), orgId: row.org_id, name: row.name, places: [], problems }
}

interface Change {
  readonly at: ConfigPath
  readonly sealed: string
}

function plan(row: Row, { keys, types, which }: ResealOptions) {
  const config: unknown = JSON.parse(row.config)
  const id = Number(row.id)
  const changes: Change[] = []
  const problems: string[] = []
  for (const { at, text } of sealedTexts(config)) {
    const opened = unseal(text, id, keys)
    if ('problem' in opened) problems.push(`config.${at.join('.')} ${opened.problem}`)
    else if (which.has('old') && sealedWith(text) !== keys[0].id) {
      changes.push({ at, sealed: seal(opened.value, id, keys[0]) })
    }
  }
  if (which.has('plain')) changes.push(...sealPlain(types.get(row.type), config, id, keys[0]))
  return { changes, problems }
}

/**
 * The credentials of a config that are in plain text, encrypted for a destination. An address stays readable,
 * unless somebody encrypts it himself.
 */
export function sealPlain(
  type: DestinationType | undefined,
  config: unknown,
  destinationId: number,
  key: SecretKey,
): Change[] {
  if (type === undefined) return []
  return findSecrets(type, config).flatMap(({ at, written, kind }) =>
    kind === 'credential' && typeof written === 'string' && written !== '' && !isSealed(written)
      ? [{ at, sealed: seal(written, destinationId, key) }]
      : [],
  )
}

/** Every ciphertext, also in a row whose type is unknown or whose config is wrong. */
function sealedTexts(config: unknown): { readonly at: ConfigPath; readonly text: string }[] {
  const found: { at: ConfigPath; text: string }[] = []
  // No recursion: PostgreSQL stores what is nested thousands deep.
  const left: { readonly at: ConfigPath; readonly value: unknown }[] = [{ at: [], value: config }]
  for (let each = left.pop(); each; each = left.pop()) {
    const { at, value } = each
    if (typeof value === 'string' && isSealed(value)) found.push({ at, text: value })
    else if (Array.isArray(value))
      left.push(...value.map((inner, index) => ({ at: [...at, index], value: inner })))
    else if (isObject(value)) {
      left.push(...Object.entries(value).map(([key, inner]) => ({ at: [...at, key], value: inner })))
    }
  }
  return found.reverse()
}

/** False when the row is not any more what was read. */
async function write(sql: Sql, row: Row, changes: readonly Change[]): Promise<boolean> {
  const path = (at: ConfigPath) => JSON.stringify(at.map(String))
  const config = changes.reduce(
    (inner, { at, sealed }) =>
      sql`jsonb_set(${inner}, ARRAY(SELECT jsonb_array_elements_text(${path(at)}::text::jsonb)), to_jsonb(${sealed}::text))`,
    sql`config`,
  )
  const written = await sql`
    UPDATE spillway.destinations SET config = ${config}
    WHERE id = ${row.id}::text::bigint AND version = ${row.version}::text::bigint`
  return written.count === 1
}
