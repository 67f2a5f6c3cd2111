/** `spillway destinations add`: checks a destination as the daemon would, then inserts it. */
import { readFile } from 'node:fs/promises'
import { text } from 'node:stream/consumers'
import type { ConfigPath } from '../../../providers/provider.ts'
import { destinationTypes } from '../../app.ts'
import type { Sql } from '../../db/client.ts'
import { destinations } from '../../db/schema.ts'
import { typed } from '../../db/typed.ts'
import type { SecretKey } from '../../destinations/sealing.ts'
import { AddressGuard } from '../../egress/address-guard.ts'
import { ConfigError } from '../../errors.ts'
import { type AddCommand, type CommandContext, writeJson, writeLine } from '../command.ts'
import { formatCountOf } from '../format.ts'
import { firstKey } from '../secret/keys.ts'
import { sealPlain } from '../secret/reseal.ts'
import { withSession } from '../session.ts'
import { printable } from '../table.ts'
import { closedAddresses } from './closed-addresses.ts'
import { type Draft, type DraftOptions, parseDraft } from './draft.ts'
import { orgText } from './find.ts'
import { readRules } from './rules.ts'

interface Options extends DraftOptions {
  readonly configFile?: string
  readonly encrypt?: true
  readonly json?: true
}

const example = `
Example:
  spillway destinations add --name "acme webhook" --org acme --type http \\
    --log-types request,action --config '{"url": "https://example.com/audit"}'

With --encrypt its secrets are stored encrypted, for this destination alone.
A config with credentials is better given with --config-file: arguments show in the list of processes.`

export const addAdd: AddCommand = (group, context) => {
  const types = destinationTypes.map(({ type }) => type).join(', ')
  group
    .command('add')
    .description('add a destination')
    .option('--name <name>', 'what people call it (required)')
    .option('--type <type>', `one of ${types} (required)`)
    .option('--log-types <list>', 'what it gets, such as request,action (required)')
    .option('--org <org>', 'the org whose events it gets; this or --all-orgs')
    .option('--all-orgs', "it gets every org's events: the operator's own destination")
    .option('--config <json>', 'settings of its type')
    .option('--config-file <path>', 'read them from a file, or from stdin with -')
    .option('--encrypt', 'store its secrets encrypted, with the first key of SPILLWAY_SECRET_KEYS')
    .option('--start-from <when>', 'now, beginning, or an ISO 8601 instant', 'now')
    .option('--delivery <json>', 'settings that differ from the daemon\'s, such as {"batchSize": 100}')
    .option('--disabled', 'add it switched off')
    .option('--json', 'print JSON')
    .addHelpText('after', example)
    .action(async (options: Options) => {
      const config = await readConfig(options, context)
      const { id, draft, allow, encrypted } = await withSession(context.env, async (session) => {
        const { sql } = session
        const rules = await readRules(sql, session.config)
        const draft = parseDraft({ ...options, ...(config !== undefined && { config }) }, rules)
        await session.markSeparateSource()
        const sealed = options.encrypt && (await sealDraft(sql, draft, firstKey(session.config)))
        const values = { ...draft, ...sealed?.columns, logTypes: [...draft.logTypes] }
        const [row] = await typed(sql).insert(destinations).values(values).returning({ id: destinations.id })
        if (row === undefined) throw new Error('The database took the row and gave no id.')
        return { id: row.id, draft, allow: session.config.egressAllow, encrypted: sealed?.places }
      })
      if (options.json) {
        writeJson(context.stdout, { id, ...(encrypted && { encrypted }) })
        return
      }
      const closed = closedAddresses(draft.config, new AddressGuard(allow))
      for (const line of [...told(id, draft, encrypted), ...closed])
        writeLine(context.stdout, printable(line))
    })
}

/**
 * The id is drawn first, because a secret is encrypted for one; with it the row is inserted whole, and is never
 * there in plain text.
 */
async function sealDraft(sql: Sql, draft: Draft, key: SecretKey) {
  const [drawn] = await sql<{ id: string }[]>`
    SELECT nextval(pg_get_serial_sequence('spillway.destinations', 'id'))::text AS id`
  const id = Number(drawn?.id)
  const type = destinationTypes.find(({ type }) => type === draft.type)
  const sealed = sealPlain(type, draft.config, id, key)
  const config: unknown = structuredClone(draft.config)
  for (const { at, sealed: text } of sealed) put(config, at, text)
  return { columns: { id, config }, places: sealed.map(({ at }) => at.join('.')) }
}

/** The place is there: it was found in what `config` is a copy of. */
function put(config: unknown, at: ConfigPath, text: string): void {
  const parent = at.slice(0, -1).reduce<unknown>((value, step) => Reflect.get(Object(value), step), config)
  // Not by assignment, which for a header named __proto__ would be of no effect.
  const own = { value: text, writable: true, enumerable: true, configurable: true }
  Object.defineProperty(Object(parent), at.at(-1) ?? '', own)
}

async function readConfig(options: Options, { stdin }: CommandContext): Promise<string | undefined> {
  const { config, configFile } = options
  if (configFile === undefined) return config
  const field = '--config-file'
  if (config !== undefined) throw new ConfigError([{ field, problem: 'contradicts --config; give one' }])
  if (configFile === '-') return text(stdin ?? process.stdin)
  try {
    return await readFile(configFile, 'utf8')
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unreadable'
    throw new ConfigError([{ field, problem: `cannot be read (${code})` }])
  }
}

function told(id: number, draft: Draft, encrypted: readonly string[] | undefined): string[] {
  const { name, type, orgId, logTypes, startFrom, enabled } = draft
  const since = startFrom === 'now' ? 'from now on' : `from ${startFrom} on`
  return [
    `Added destination ${id}: ${name} (${type}), ${logTypes.join(', ')} of ${orgText(orgId)}.`,
    ...(encrypted
      ? [`Encrypted ${formatCountOf(encrypted.length, 'secret')}: ${encrypted.join(', ') || 'it has none'}.`]
      : []),
    enabled
      ? `A running daemon takes it up within a second; it gets events ${since}.`
      : `It is disabled. Its events wait ${since}, until \`spillway destinations enable ${id}\`.`,
    `Try it with \`spillway destinations test ${id}\`.`,
  ]
}
