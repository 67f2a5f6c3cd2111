/**
 * The state pool of a daemon: one that is replaced by a new one when connections of it were cut without a word
 * (statement-watch.ts). The driver has no way to give up a single connection. Its users see nothing of it but
 * statements that fail as after any lost connection.
 */
import { connectState, type Sql, type StatePoolOptions } from './client.ts'
import { lostStatements } from './lost-statements.ts'
import { StatementWatch } from './statement-watch.ts'

/** `onWatch`: for who learns in another way that connections were cut. */
export function connectRenewingState(
  url: string,
  options: StatePoolOptions,
  onWatch: (watch: StatementWatch) => void = () => {},
): Sql {
  const ending = new AbortController()
  const watch = new StatementWatch({
    lost: (suspects) => lostStatements({ url, pooled: options.pooled === true }, suspects),
    onLost: () => {
      if (ending.signal.aborted) return
      const former = current
      current = connectState(url, options)
      void former.end({ timeout: 0 })
    },
  })
  let current = connectState(url, options)
  void watch.run(ending.signal)
  onWatch(watch)
  const end: Sql['end'] = (closing) => {
    ending.abort()
    return current.end(closing)
  }
  return new Proxy(current, {
    apply: (_, self, parts) => watched(Reflect.apply(current, self, parts)),
    get: (_, name) => {
      if (name === 'end') return end
      const value: unknown = Reflect.get(current, name)
      return name === 'unsafe' && typeof value === 'function'
        ? (...of: unknown[]) => watched(Reflect.apply(value, current, of))
        : value
    },
  })

  /** A statement runs when somebody waits for it. A part of another one is made in the same way and never is. */
  function watched<T>(made: T): T {
    if (!(made instanceof Promise)) return made
    const { then } = made
    let followed = false
    const follow = ((...of: Parameters<typeof then>) => {
      const result = Reflect.apply(then, made, of)
      if (!followed) {
        followed = true
        watch.follow(made)
      }
      return result
    }) as typeof then // its overloads are `then`'s own
    return Object.defineProperty(made, 'then', { value: follow, writable: true, configurable: true })
  }
}
