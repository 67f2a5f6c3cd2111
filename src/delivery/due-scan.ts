/**
 * The backstop behind the wake-ups: now and then, and when many destinations start at once, it asks each
 * source which cursors have rows before the horizon, a thousand cursors a statement.
 */
import { Bell } from '../clock.ts'
import { type Availability, isCancelled, isTransient } from '../db/availability.ts'
import type { Watcher } from '../sources/watcher.ts'
import type { Log } from '../telemetry/log.ts'
import type { FleetStore } from './fleet-store.ts'
import type { Forwarder } from './forwarder.ts'
import type { Stream } from './stream.ts'

export interface DueScanDeps {
  readonly availability: Availability
  readonly log: Log
  openMissing(logType: string): void
  watchers(): readonly Watcher[]
  forwarders(): readonly Forwarder[]
  readonly store: Pick<FleetStore, 'advance'>
}

const scanEveryMs = 30_000
const cursorsPerStatement = 1_000
/** Ten minutes: what a kill makes of it is a warning too many, and only where retention ran meanwhile. */
const scansUntilLeft = 20

export class DueScan {
  readonly #deps: DueScanDeps
  readonly #bell = new Bell()

  constructor(deps: DueScanDeps) {
    this.#deps = deps
  }

  /**
   * Looks once more, so that cursors can be left where nothing more lies behind them: the next run could not
   * tell a backlog from rows of other tenants. Problems do not matter; a cursor further back is right too.
   */
  async finish(): Promise<void> {
    await Promise.allSettled(this.#deps.watchers().map((watcher) => this.#scan(watcher)))
  }

  /** Scan now. */
  request(): void {
    this.#bell.ring()
  }

  async run(signal: AbortSignal): Promise<void> {
    signal.addEventListener('abort', () => this.#bell.ring(), { once: true })
    for (let scans = 1; !signal.aborted; scans++) {
      await this.#bell.wait(scanEveryMs)
      if (signal.aborted) return
      // Beside each other: a table that is locked holds up its own scan only.
      await Promise.all(
        this.#deps.watchers().map((watcher) => {
          // Streams that could not be started when their source became readable get another chance.
          this.#deps.openMissing(watcher.definition.logType)
          return this.#scan(watcher).catch((error) => this.#failed(error, watcher))
        }),
      )
      // With the database away the next time will do.
      if (scans % scansUntilLeft === 0) await this.#leaveCursors().catch(() => {})
    }
  }

  async #scan({ definition: { logType }, reader, horizon }: Watcher): Promise<void> {
    if (!reader || horizon === undefined) return
    const asleep = this.#deps
      .forwarders()
      .flatMap((forwarder) =>
        forwarder.streams
          .filter((stream) => stream.logType === logType && !stream.awake)
          .map((stream) => ({ forwarder, stream })),
      )
    for (let index = 0; index < asleep.length; index += cursorsPerStatement) {
      const chunk = asleep.slice(index, index + cursorsPerStatement)
      const cursors = chunk.map(({ stream }) => cursorOf(stream))
      const due = await reader.due(cursors, horizon).catch((error) => {
        // It takes longer than the role is allowed: each looks for itself.
        if (isCancelled(error)) return new Map(chunk.map((_, place) => [place, undefined]))
        throw error
      })
      for (const [place, { forwarder, stream }] of chunk.entries()) {
        if (due.has(place)) forwarder.wake(logType, due.get(place))
        else stream.foundEmpty(horizon)
      }
    }
  }

  /**
   * Leaves the cursors where there is nothing more for them. A forwarder that begins a turn at the same moment
   * finds its cursor moved, and begins anew.
   */
  async #leaveCursors(): Promise<void> {
    const moves = this.#deps.forwarders().flatMap(({ idleMoves }) => idleMoves)
    for (let index = 0; index < moves.length; index += cursorsPerStatement) {
      await this.#deps.store.advance(moves.slice(index, index + cursorsPerStatement))
    }
  }

  /** The next scan, or the watcher's own recovery, makes up for it. */
  #failed(error: unknown, { definition }: Watcher): void {
    if (isTransient(error)) this.#deps.availability.reportDown(error)
    else this.#deps.log.emit('source.error', { log_type: definition.logType, error })
  }
}

function cursorOf(stream: Stream) {
  const position = stream.emptyTo
  return { scope: stream.scopeAfter(position), position }
}
