/**
 * How busy a pool of connections is. The driver does not tell, so statements are counted on their way in and out. The
 * pools of the daemon send one statement at a time over a connection: as many connections are in use as statements
 * run, up to the pool's size, and the rest waits.
 */
import type { SourceSql, Sql } from './client.ts'

/** A statement that takes longer may be one that hangs. */
const lateMs = 10_000

export class PoolUsage {
  readonly max: number
  readonly #now: () => number
  #statements = 0
  /** When statements waited for a connection last, and when one was answered. */
  #queuedAt = Number.NEGATIVE_INFINITY
  #answeredAt = Number.NEGATIVE_INFINITY

  constructor(max: number, now: () => number = () => performance.now()) {
    this.max = max
    this.#now = now
  }

  get used(): number {
    return Math.min(this.#statements, this.max)
  }

  get waiting(): number {
    return this.#statements - this.used
  }

  /**
   * Statements wait for their turn, or did a moment ago, and turns come: others are answered. So one that has waited
   * for long says nothing about the database.
   */
  get isWorkingOff(): boolean {
    const now = this.#now()
    const isQueueing = this.waiting > 0 || now - this.#queuedAt < lateMs
    return isQueueing && now - this.#answeredAt < lateMs
  }

  async during<T>(work: () => PromiseLike<T>): Promise<T> {
    this.#statements += 1
    try {
      const result = await work()
      this.#answeredAt = this.#now()
      return result
    } finally {
      if (this.waiting > 0) this.#queuedAt = this.#now()
      this.#statements -= 1
    }
  }
}

export function meterSource(sql: SourceSql, usage: PoolUsage): SourceSql {
  return {
    query: (statement, parameters, options) => usage.during(() => sql.query(statement, parameters, options)),
    each: (statement, parameters, options, onRow) =>
      usage.during(() => sql.each(statement, parameters, options, onRow)),
    end: (closing) => sql.end(closing),
  }
}

/**
 * A statement of the driver begins when somebody waits for it, and one that becomes a part of another never does: so
 * it is counted from the first `then` on.
 */
export function meterState(sql: Sql, usage: PoolUsage): Sql {
  return new Proxy(sql, {
    apply(target, thisArgument, values) {
      const made: unknown = Reflect.apply(target, thisArgument, values)
      // Arrays and objects of values are no statements.
      return made instanceof Promise ? counted(made, usage) : made
    },
  })
}

function counted<T>(statement: Promise<T>, usage: PoolUsage): Promise<T> {
  const begin = statement.then.bind(statement)
  let begun: Promise<T> | undefined
  // Biome's rule is against objects that `await` takes for promises by mistake; this one is a promise.
  // biome-ignore lint/suspicious/noThenProperty: see above
  statement.then = (onDone, onFailed) => {
    begun ??= usage.during(() => new Promise<T>((resolve, reject) => void begin(resolve, reject)))
    return begun.then(onDone, onFailed)
  }
  return statement
}
