/** `spillway replay <destination> …`: asks for a replay, and shows it until it has ended. */
import { userInfo } from 'node:os'
import { eq } from 'drizzle-orm'
import { errorCode } from '../../db/availability.ts'
import type { Sql } from '../../db/client.ts'
import { replays, skippedRanges } from '../../db/schema.ts'
import { typed } from '../../db/typed.ts'
import { stillTooOld } from '../../delivery/replay-plan.ts'
import { type Destination, type DestinationRow, parseDestination } from '../../destinations/destination.ts'
import {
  type AddCommand,
  type CommandContext,
  CommandError,
  CommandFailed,
  writeJson,
  writeLine,
} from '../command.ts'
import { findDestination } from '../destinations/find.ts'
import { judged, readRules } from '../destinations/rules.ts'
import { withSession } from '../session.ts'
import { findSource } from '../sources/find.ts'
import { parseRequest, type ReplayRequest, type RequestOptions } from './parse.ts'
import { follow } from './progress.ts'
import { findReplay, isComplete, isOver, type ReplayRow, resultOf, toJson } from './row.ts'

interface Options extends RequestOptions {
  readonly by?: string
  readonly detach?: true
  readonly json?: true
}

const afterHelp = `
What was delivered before, was skipped, or was refused is sent again, beside the live stream, which it never
touches. Only rows up to the destination's cursor are sent; later ones come by themselves. Events keep their ids;
over HTTP each batch carries the header spillway-replay with the replay's id.

The replay runs in the daemon. Ctrl-C ends the watching and not the replay.
Exit code 0 only if every event was sent.

Examples:
  spillway replay acme --since 2026-11-20T00:00:00Z --until 2026-11-21T00:00:00Z
  spillway replay acme --range request 1200 1800
  spillway replay acme --dead-letters
  spillway replay skipped acme                 # which ranges were skipped
  spillway replay acme --skipped 7`

export const addRequest: AddCommand = (group, context) => {
  group
    .argument('[id or name]', 'the destination')
    .option('--range <log-type, from, to...>', 'events after a position, up to and with another one')
    .option('--since <instant>', 'events stamped at or after an ISO 8601 instant')
    .option('--until <instant>', 'with --since: and before this one')
    .option('--dead-letters', 'events that it refused and that are not resolved, as their rows are now')
    .option('--skipped <id>', 'a range of spillway.skipped_ranges')
    .option('--log-type <log-type>', 'with --since and --dead-letters: only these events')
    .option('--by <who>', 'who asks; default: the user of this machine')
    .option('--detach', 'do not wait for its end')
    .option('--json', 'print JSON')
    .addHelpText('after', afterHelp)
    .action(async (idOrName: string | undefined, options: Options) => {
      const request = parseRequest(idOrName, options)
      await withSession(context.env, async ({ sql, config }) => {
        const row = await findDestination(sql, request.destination)
        const rules = await readRules(sql, config)
        await check(
          sql,
          row,
          judged(() => parseDestination(row, rules)),
          request,
        )
        const replay = await insert(sql, row, request, options.by ?? userName())
        if (!options.json) for (const line of told(replay, row)) writeLine(context.stdout, line)
        if (options.detach) {
          if (options.json) writeJson(context.stdout, toJson(replay))
          return
        }
        await watch(sql, replay, options.json === true, context)
      })
    })
}

/** What the database does not look at: the rest is refused by the insert itself. */
async function check(
  sql: Sql,
  row: DestinationRow,
  { configured }: Pick<Destination, 'configured'>,
  request: ReplayRequest,
): Promise<void> {
  if (request.kind === 'range' && row.logTypes.includes(request.logType ?? '')) {
    const { ordering } = await findSource(sql, request.logType ?? '')
    request.checkPositions(ordering)
  }
  if (request.kind !== 'skipped' || configured.limits.maxEventAgeMs === undefined) return
  const [range] = await typed(sql)
    .select({ destinationId: skippedRanges.destinationId, reason: skippedRanges.reason })
    .from(skippedRanges)
    .where(eq(skippedRanges.id, request.skippedId ?? 0))
  if (range?.destinationId === row.id && range.reason === 'too_old_for_provider') {
    throw new CommandError(stillTooOld, 'Send them to a destination of another type.')
  }
}

async function insert(
  sql: Sql,
  { id }: DestinationRow,
  { kind, logType, from, to, since, until, skippedId }: ReplayRequest,
  requestedBy: string,
): Promise<ReplayRow> {
  try {
    const [row] = await typed(sql)
      .insert(replays)
      .values({
        destinationId: id,
        kind,
        requestedBy,
        ...(logType !== undefined && { logType }),
        ...(from !== undefined && { fromPosition: from }),
        ...(to !== undefined && { toPosition: to }),
        ...(since !== undefined && { since: new Date(since) }),
        ...(until !== undefined && { until: new Date(until) }),
        ...(skippedId !== undefined && { skippedId }),
      })
      .returning()
    if (row === undefined) throw new Error('The database took the row and gave no id.')
    return row
  } catch (error) {
    throw refusal(error) ?? error
  }
}

/** What the trigger refuses comes with words for people. */
function refusal(error: unknown): CommandError | undefined {
  if (errorCode(error) !== 'SPRPL') return undefined
  // The query builder wraps what the driver throws.
  const { message, hint } = (error instanceof Error && error.cause ? error.cause : error) as {
    message: string
    hint?: string
  }
  return new CommandError(message, hint ?? '')
}

function userName(): string {
  try {
    return userInfo().username
  } catch {
    // A container's user may have no name.
    return `uid ${process.getuid?.() ?? 'unknown'}`
  }
}

function told({ id }: ReplayRow, row: DestinationRow): string[] {
  return [`Replay ${id} to destination ${row.id} (${row.name}) waits for the daemon to take it up.`]
}

async function watch(sql: Sql, replay: ReplayRow, json: boolean, context: CommandContext): Promise<void> {
  const { stdout, stderr, signal } = context
  const last = await follow(sql, replay, { stdout: json ? undefined : stdout, stderr }, signal)
  const ended = (await findReplay(sql, replay.id)) ?? last
  if (json) writeJson(stdout, toJson(ended))
  else if (isOver(ended)) for (const line of resultOf(ended)) writeLine(stdout, line)
  if (!isOver(ended)) {
    writeLine(
      stderr,
      `Replay ${replay.id} goes on without you: \`spillway replay list\` shows it, \`spillway replay cancel ${replay.id}\` ends it.`,
    )
  }
  if (!isComplete(ended)) throw new CommandFailed()
}
