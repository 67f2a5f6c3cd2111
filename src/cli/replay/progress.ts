/** Shows a replay while it runs: a line that is rewritten on a terminal, a line for each change elsewhere. */

import { sleep } from '../../clock.ts'
import { findReplicas } from '../../cluster/lease-store.ts'
import type { Sql } from '../../db/client.ts'
import { writeLine } from '../command.ts'
import { formatCountOf, formatDuration } from '../format.ts'
import { cut, printable, terminalWidth } from '../table.ts'
import { findReplay, isOver, type ReplayRow, sentOf } from './row.ts'

const lookEveryMs = 300
/** A daemon that runs takes a replay up within a second. */
const takenUpWithinMs = 3_000
/** Lines to a file or a pipe. */
const lineEveryMs = 5_000

interface Streams {
  /** Undefined: nothing is shown. */
  readonly stdout: NodeJS.WriteStream | undefined
  readonly stderr: NodeJS.WriteStream
}

/** Until it has ended or `signal` aborts; what was seen last. */
export async function follow(
  sql: Sql,
  replay: ReplayRow,
  { stdout, stderr }: Streams,
  signal: AbortSignal,
): Promise<ReplayRow> {
  const began = performance.now()
  const display = stdout && new Display(stdout)
  let row = replay
  let asked = false
  while (!isOver(row) && !signal.aborted) {
    if (row.state === 'waiting' && !asked && performance.now() - began > takenUpWithinMs) {
      asked = true
      for (const line of await whyWaiting(sql, row)) writeLine(stderr, line)
    }
    if (row.state === 'running') display?.show(row)
    await sleep(lookEveryMs, signal)
    row = (await findReplay(sql, replay.id)) ?? { ...row, state: 'cancelled' }
  }
  display?.end()
  return row
}

async function whyWaiting(sql: Sql, { id, destinationId, lastError }: ReplayRow): Promise<string[]> {
  if ((await findReplicas(sql)).length === 0) {
    return [
      `No daemon has taken replay ${id} up: none runs on this database. It waits until one does (\`spillway run\`).`,
    ]
  }
  const [before] = await sql<{ id: string }[]>`
    SELECT id::text AS id FROM spillway.replays
    WHERE destination_id = ${destinationId} AND id < ${id} AND state IN ('waiting', 'running') ORDER BY id LIMIT 1`
  if (before) return [`Replay ${id} waits for replay ${before.id} of the same destination.`]
  return [printable(`Replay ${id} waits${lastError === null ? '.' : `: ${lastError}`}`)]
}

/** Control sequences (ECMA-48) that every terminal of today knows. */
const clearLine = '\r\u001b[2K'

class Display {
  readonly #stream: NodeJS.WriteStream
  #shown = ''
  #shownAt = Number.NEGATIVE_INFINITY

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream
  }

  show(row: ReplayRow): void {
    const text = progressOf(row, Date.now())
    const now = performance.now()
    const width = terminalWidth(this.#stream)
    if (width === undefined) {
      if (text === this.#shown || now - this.#shownAt < lineEveryMs) return
      writeLine(this.#stream, text)
    } else this.#stream.write(`${clearLine}${cut(text, width - 1)}`)
    this.#shown = text
    this.#shownAt = now
  }

  /** Leaves the line to what is written next. */
  end(): void {
    if (terminalWidth(this.#stream) !== undefined && this.#shown !== '') this.#stream.write(clearLine)
  }
}

function progressOf(row: ReplayRow, now: number): string {
  const share = row.eventsExpected
    ? ` (${Math.min(Math.floor((row.eventsSent / row.eventsExpected) * 100), 100)} %)`
    : ''
  const refused = row.eventsRefused > 0 ? `, ${formatCountOf(row.eventsRefused, 'event')} refused` : ''
  const waitMs = (row.nextAttemptAt?.getTime() ?? 0) - now
  const trouble = row.lastError === null ? '' : ` · ${row.lastError}`
  const next = waitMs > 0 ? ` · next attempt in ${formatDuration(waitMs)}` : ''
  return printable(`Replay ${row.id}: ${sentOf(row)} events sent${share}${refused}${trouble}${next}`)
}
