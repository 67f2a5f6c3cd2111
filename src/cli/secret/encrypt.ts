/** `spillway secret encrypt`: a secret as the text to write into a destination's row. */
import { destinationTypes } from '../../app.ts'
import { seal } from '../../destinations/sealing.ts'
import { type AddCommand, CommandError, CommandFailed, writeJson, writeLine } from '../command.ts'
import { findDestination } from '../destinations/find.ts'
import { formatCountOf } from '../format.ts'
import { withSession } from '../session.ts'
import { printable } from '../table.ts'
import { readSecret } from './input.ts'
import { firstKey } from './keys.ts'
import { resealOne } from './reseal.ts'

interface Options {
  readonly destination: string
  readonly all?: true
  readonly json?: true
}

const afterHelp = `
Examples:
  printf %s "$TOKEN" | spillway secret encrypt --destination 7
  spillway secret encrypt --destination 7 < client.key
  spillway secret encrypt --destination 7 --all

The text that is printed opens for this destination only. It goes into a secret field of the row's config: the
token, password or value of auth, a value of headers, a url, signing.secrets, tls.key, clientSecret, apiKey.
One line break at the end of the input is left out. The first key of SPILLWAY_SECRET_KEYS encrypts.`

export const addEncrypt: AddCommand = (group, context) => {
  const { env, stdout, stderr } = context
  group
    .command('encrypt')
    .description('encrypt a secret for a destination, and print the text to paste')
    .requiredOption('--destination <id or name>', 'the destination it is for')
    .option('--all', "encrypt, in place, every secret of the destination's row that is in plain text")
    .option('--json', 'print JSON')
    .addHelpText('after', afterHelp)
    .action(async ({ destination, all, json }: Options) => {
      if (all) {
        const done = await withSession(env, async ({ sql, config }) => {
          const { id } = await findDestination(sql, destination)
          return resealOne(id, {
            sql,
            types: new Map(destinationTypes.map((type) => [type.type, type])),
            keys: [firstKey(config), ...config.secretKeys.slice(1)],
            which: new Set(['plain']),
            dryRun: false,
          })
        })
        if (!done) throw new CommandError('The destination was deleted meanwhile.', 'Nothing was changed.')
        if (json) {
          const { id, name, places, problems } = done
          writeJson(stdout, { id, name, encrypted: places, problems })
        } else {
          const count = formatCountOf(done.places.length, 'secret')
          const list = done.places.length === 0 ? '' : `: ${done.places.join(', ')}`
          writeLine(stdout, printable(`Encrypted ${count} of destination ${done.id} (${done.name})${list}.`))
          for (const problem of done.problems) writeLine(stderr, printable(problem))
        }
        if (done.problems.length > 0) throw new CommandFailed()
        return
      }
      const { id, name, key } = await withSession(env, async ({ sql, config }) => ({
        ...(await findDestination(sql, destination)),
        key: firstKey(config),
      }))
      const text = seal(await readSecret(context), id, key)
      if (json) writeJson(stdout, { id, name, key: key.id, text })
      else writeLine(stdout, text)
    })
}
