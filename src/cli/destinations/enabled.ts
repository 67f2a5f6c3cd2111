/** `spillway destinations enable` and `disable`: the switch, and what follows from it. */
import { eq } from 'drizzle-orm'
import { destinations } from '../../db/schema.ts'
import { typed } from '../../db/typed.ts'
import { type AddCommand, writeJson, writeLine } from '../command.ts'
import { withSession } from '../session.ts'
import { printable } from '../table.ts'
import { findDestination } from './find.ts'

const enabling = {
  done: 'enabled',
  next: [
    'A running daemon resumes at its cursor within a second.',
    'What came in while it was disabled is delivered, unless that was longer than its maximum backlog age:',
    'then it is skipped, with a record of the range and its count in spillway.skipped_ranges.',
  ],
}
const disabling = {
  done: 'disabled',
  next: [
    'A running daemon stops within a second; a batch that is on its way may still arrive.',
    'Its cursor stays. When it is enabled again it resumes there, subject to its maximum backlog age.',
  ],
}

export const addEnable: AddCommand = (group, context) => addSwitch(group, context, 'enable', true)
export const addDisable: AddCommand = (group, context) => addSwitch(group, context, 'disable', false)

function addSwitch(
  group: Parameters<AddCommand>[0],
  { env, stdout }: Parameters<AddCommand>[1],
  verb: 'enable' | 'disable',
  enabled: boolean,
): void {
  const { done, next } = enabled ? enabling : disabling
  group
    .command(verb)
    .description(enabled ? 'resume deliveries' : 'stop deliveries and keep the place')
    .argument('<id or name>', 'the destination')
    .option('--json', 'print JSON')
    .addHelpText('after', `\n${next.join('\n')}`)
    .action(async (idOrName: string, { json }: { json?: true }) => {
      const row = await withSession(env, async ({ sql }) => {
        const found = await findDestination(sql, idOrName)
        await typed(sql).update(destinations).set({ enabled }).where(eq(destinations.id, found.id))
        return found
      })
      const changed = row.enabled !== enabled
      if (json) {
        writeJson(stdout, { id: row.id, name: row.name, enabled, changed })
        return
      }
      writeLine(
        stdout,
        printable(`Destination ${row.id} (${row.name}) ${changed ? 'is' : 'was already'} ${done}.`),
      )
      if (changed) for (const line of next) writeLine(stdout, line)
    })
}
