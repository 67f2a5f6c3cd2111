/** `spillway replay cancel`: ends a replay; what it sent stays sent. */
import { and, eq, sql as expression, inArray } from 'drizzle-orm'
import { replays } from '../../db/schema.ts'
import { typed } from '../../db/typed.ts'
import { type AddCommand, CommandError, writeJson, writeLine } from '../command.ts'
import { formatCountOf } from '../format.ts'
import { withSession } from '../session.ts'
import { findReplay, toJson } from './row.ts'

const seeList = '`spillway replay list` shows which there are.'

export const addCancel: AddCommand = (group, { env, stdout }) => {
  group
    .command('cancel')
    .description('end a replay that waits or runs')
    .argument('<id>', 'the replay')
    .option('--json', 'print JSON')
    .action(async (text: string, _: unknown, command) => {
      const { json } = command.optsWithGlobals() as { json?: true }
      const id = /^[1-9]\d{0,14}$/.test(text) ? Number(text) : 0
      const row = await withSession(env, async ({ sql }) => {
        const [cancelled] = await typed(sql)
          .update(replays)
          .set({ state: 'cancelled', finishedAt: expression`now()`, nextAttemptAt: null })
          .where(and(eq(replays.id, id), inArray(replays.state, ['waiting', 'running'])))
          .returning()
        if (cancelled) return cancelled
        const ended = await findReplay(sql, id)
        if (!ended) throw new CommandError(`There is no replay "${text}".`, seeList)
        throw new CommandError(`Replay ${id} has ended already: ${ended.state}.`, seeList)
      })
      if (json) writeJson(stdout, toJson(row))
      else {
        const sent = formatCountOf(row.eventsSent, 'event')
        writeLine(
          stdout,
          `Replay ${id} is cancelled; ${sent} had been sent. A batch that is on its way may still arrive.`,
        )
      }
    })
}
