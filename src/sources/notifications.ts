/**
 * Listens for the triggers' hints (hint-trigger.ts), on one connection for all sources. A hint only ends a
 * watcher's wait early: without the connection everything happens just the same, at poll speed.
 *
 * States: *idle* (no source has the trigger, so no connection is spent: a server has many sidecars, and each
 * session that listens is woken by every NOTIFY in its database) → *listening* (until the last trigger is
 * gone) → *lost* (tried again after a pause that grows). After LISTEN all sources with a trigger are looked
 * at once, for what was told before it.
 */
import postgres from 'postgres'
import { Bell, sleep } from '../clock.ts'
import { errorCode } from '../db/availability.ts'
import { keepAliveSeconds } from '../db/client.ts'
import type { Log } from '../telemetry/log.ts'
import { hintChannel } from './hint-trigger.ts'

export interface NotificationsDeps {
  /** Of the database with the audit tables. */
  readonly url: string
  readonly log: Log
  /** False behind a pooler in transaction mode, which passes no notification on. Asked before each attempt. */
  mayListen(): Promise<boolean>
  onHint(logType: string): void
}

const firstPauseMs = 1_000
const longestPauseMs = 30_000
/** A connection that died without a word shows only when it is used. */
const heartbeatMs = 30_000
const answerWithinMs = 5_000

export class Notifications {
  readonly #deps: NotificationsDeps
  /** Log types whose tables have the trigger. */
  readonly #hinted = new Set<string>()
  readonly #bell = new Bell()
  #said: 'listening' | 'not listening' | undefined

  constructor(deps: NotificationsDeps) {
    this.#deps = deps
  }

  setHinted(logType: string, hinted: boolean): void {
    if (hinted) this.#hinted.add(logType)
    else this.#hinted.delete(logType)
    this.#bell.ring()
  }

  /** Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    const wake = () => this.#bell.ring()
    signal.addEventListener('abort', wake, { once: true })
    let pauseMs = firstPauseMs
    while (!signal.aborted) {
      if (this.#hinted.size === 0) {
        await this.#bell.wait()
        continue
      }
      const wasUp = await this.#listen(signal)
      if (signal.aborted || this.#hinted.size === 0) continue
      await sleep(pauseMs, signal)
      pauseMs = wasUp ? firstPauseMs : Math.min(pauseMs * 2, longestPauseMs)
    }
    signal.removeEventListener('abort', wake)
  }

  /** Until the connection is lost or of no use any more; returns whether it came about. */
  async #listen(signal: AbortSignal): Promise<boolean> {
    let lost = false
    let session: postgres.Sql | undefined
    try {
      if (!(await this.#deps.mayListen())) return false
      const onLost = () => {
        lost = true
        this.#bell.ring()
      }
      session = this.#connect(onLost)
      await answered(session.unsafe(`LISTEN ${hintChannel}`), signal)
      if (!this.#serves(signal) || lost) return !lost
      this.#say('listening')
      for (const logType of this.#hinted) this.#deps.onHint(logType)
      while (this.#serves(signal) && !lost) {
        await this.#bell.wait(heartbeatMs)
        if (this.#serves(signal) && !lost) await answered(session.unsafe('SELECT 1'), signal)
      }
      if (!signal.aborted) this.#say('not listening', lost ? 'CONNECTION_CLOSED' : undefined)
      return true
    } catch (error) {
      const wasUp = this.#said === 'listening'
      if (!signal.aborted) this.#say('not listening', errorCode(error) ?? 'unknown')
      return wasUp
    } finally {
      await session?.end({ timeout: 1 })
    }
  }

  #serves(signal: AbortSignal): boolean {
    return !signal.aborted && this.#hinted.size > 0
  }

  #connect(onclose: () => void): postgres.Sql {
    const options = {
      max: 1,
      idle_timeout: 0,
      max_lifetime: null,
      connect_timeout: 10,
      keep_alive: keepAliveSeconds,
      fetch_types: false,
      prepare: false,
      onnotice: () => {},
      onclose,
      // Of the driver, and left out of its types: `listen` builds on it, and hides that a connection was lost.
      onnotify: (channel: string, payload: string) => {
        if (channel === hintChannel) this.#deps.onHint(payload)
      },
      connection: { application_name: 'spillway listener' },
    }
    return postgres(this.#deps.url, options)
  }

  #say(state: 'listening' | 'not listening', code?: string): void {
    if (this.#said === state) return
    this.#said = state
    const log_types = [...this.#hinted].sort()
    if (state === 'listening') this.#deps.log.emit('hints.started', { log_types })
    else this.#deps.log.emit('hints.stopped', { code })
  }
}

/** Rejects when the answer does not come in time; the connection is then as good as gone. */
async function answered(query: PromiseLike<unknown>, signal: AbortSignal): Promise<void> {
  const done = new AbortController()
  const late = sleep(answerWithinMs, AbortSignal.any([signal, done.signal])).then(() => {
    if (!done.signal.aborted) throw Object.assign(new Error('no answer'), { code: 'ETIMEDOUT' })
  })
  try {
    await Promise.race([query, late])
  } finally {
    done.abort()
    // Whoever lost the race may still fail.
    Promise.resolve(query).catch(() => {})
    late.catch(() => {})
  }
}
