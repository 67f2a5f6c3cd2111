/**
 * The backstop behind the wake-ups: now and then, and when many destinations start at once, it asks each
 * source which cursors have rows before the horizon, a thousand cursors a statement.
 */
import { Bell } from '../clock.ts'
import { type Availability, isCancelled, isTransient } from '../db/availability.ts'
import type { Watcher } from '../sources/watcher.ts'
import type { Log } from '../telemetry/log.ts'
import type { Forwarder } from './forwarder.ts'
import type { Stream } from './stream.ts'

export interface DueScanDeps {
  readonly availability: Availability
  readonly log: Log
  /** Streams that could not be started when their source became readable get another chance. */
  openMissing(logType: string): void
  watchers(): readonly Watcher[]
  forwarders(): readonly Forwarder[]
}

const scanEveryMs = 30_000
const cursorsPerStatement = 1_000

export class DueScan {
  readonly #deps: DueScanDeps
  readonly #bell = new Bell()

  constructor(deps: DueScanDeps) {
    this.#deps = deps
  }

  /** Scan now. */
  request(): void {
    this.#bell.ring()
  }

  async run(signal: AbortSignal): Promise<void> {
    signal.addEventListener('abort', () => this.#bell.ring(), { once: true })
    while (!signal.aborted) {
      await this.#bell.wait(scanEveryMs)
      if (signal.aborted) return
      // Beside each other: a table that is locked holds up its own scan only.
      await Promise.all(
        this.#deps
          .watchers()
          .map((watcher) => this.#scan(watcher).catch((error) => this.#failed(error, watcher))),
      )
    }
  }

  async #scan({ definition: { logType }, reader, horizon }: Watcher): Promise<void> {
    if (!reader || horizon === undefined) return
    this.#deps.openMissing(logType)
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
        if (isCancelled(error)) return chunk.keys()
        throw error
      })
      for (const found of due) chunk[found]?.forwarder.wake(logType)
    }
  }

  /** The next scan, or the watcher's own recovery, makes up for it. */
  #failed(error: unknown, { definition }: Watcher): void {
    if (isTransient(error)) this.#deps.availability.reportDown(error)
    else this.#deps.log.emit('source.error', { log_type: definition.logType, error })
  }
}

function cursorOf(stream: Stream) {
  return { scope: stream.scopeAfter(stream.position), position: stream.position }
}
