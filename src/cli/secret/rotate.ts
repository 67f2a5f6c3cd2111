/** `spillway secret rotate`: encrypts what is not under the first key anew. */
import { destinationTypes } from '../../app.ts'
import { type AddCommand, CommandFailed, writeJson, writeLine } from '../command.ts'
import { formatCount, formatCountOf } from '../format.ts'
import { withSession } from '../session.ts'
import { printable, renderTable, type TableColumn, terminalWidth } from '../table.ts'
import { firstKey } from './keys.ts'
import { type Resealed, type ResealOptions, resealAll } from './reseal.ts'

interface Options {
  readonly includePlain?: true
  readonly dryRun?: true
  readonly json?: true
}

const afterHelp = `
To change the key:
  1. Put the new key first and keep the old one: SPILLWAY_SECRET_KEYS=new:…,old:…; restart the daemon.
  2. Run this command with the same variable.
  3. When it reports nothing left over, take the old key out and restart the daemon.

Running it twice does nothing more. A row that somebody edits meanwhile keeps the edit. Exit code 1 if something
could not be decrypted; it stays as it is, and is named.`

export const addRotate: AddCommand = (group, { env, stdout, stderr }) => {
  group
    .command('rotate')
    .description('encrypt with the first key what is still under another one')
    .option('--include-plain', 'encrypt secrets that are in plain text as well')
    .option('--dry-run', 'say what would be done, and change nothing')
    .option('--json', 'print JSON')
    .addHelpText('after', afterHelp)
    .action(async ({ includePlain, dryRun: isDry, json }: Options) => {
      const dryRun = isDry === true
      const { key, rows, changed, failed } = await withSession(env, async ({ sql, config }) => {
        const first = firstKey(config)
        const options: ResealOptions = {
          sql,
          types: new Map(destinationTypes.map((type) => [type.type, type])),
          keys: [first, ...config.secretKeys.slice(1)],
          which: new Set(includePlain ? ['old', 'plain'] : ['old']),
          dryRun,
        }
        const changed: Resealed[] = []
        const failed: Resealed[] = []
        let rows = 0
        for await (const done of resealAll(options)) {
          rows += 1
          if (done.places.length > 0) changed.push(done)
          if (done.problems.length > 0) failed.push(done)
        }
        return { key: first.id, rows, changed, failed }
      })
      const secrets = changed.reduce((sum, { places }) => sum + places.length, 0)
      if (json) {
        writeJson(stdout, {
          dry_run: dryRun,
          key,
          destinations: rows,
          secrets,
          encrypted: changed.map(({ id, name, orgId, places }) => ({ id, name, org_id: orgId, places })),
          failed: failed.map(({ id, name, orgId, problems }) => ({ id, name, org_id: orgId, problems })),
        })
      } else {
        if (changed.length > 0) {
          for (const line of renderTable(columns, changed, terminalWidth(stdout))) writeLine(stdout, line)
        }
        writeLine(
          stdout,
          `${dryRun ? 'Would encrypt' : 'Encrypted'} ${formatCountOf(secrets, 'secret')} of ` +
            `${formatCountOf(changed.length, 'destination')} with the key "${key}", of ${formatCount(rows)} in all.`,
        )
        for (const { id, name, problems } of failed) {
          for (const problem of problems) {
            writeLine(stderr, printable(`Destination ${id} (${name}): ${problem}.`))
          }
        }
      }
      if (failed.length > 0) throw new CommandFailed()
    })
}

const columns: readonly TableColumn<Resealed>[] = [
  { heading: 'ID', value: ({ id }) => String(id), align: 'right' },
  { heading: 'ORG', value: ({ orgId }) => orgId ?? '(all)', shrinks: true },
  { heading: 'NAME', value: ({ name }) => name, shrinks: true },
  { heading: 'SECRETS', value: ({ places }) => places.join(','), shrinks: true },
]
