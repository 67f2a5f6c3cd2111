/**
 * How busy a pool of connections is. The driver does not tell, so statements are counted on their way in and out. The
 * pools of the daemon send one statement at a time over a connection: as many connections are in use as statements
 * run, up to the pool's size, and the rest waits.
 */
import type { SourceSql, Sql } from './client.ts'

export class PoolUsage {
  readonly max: number
  #statements = 0

  constructor(max: number) {
    this.max = max
  }

  get used(): number {
    return Math.min(this.#statements, this.max)
  }

  get waiting(): number {
    return this.#statements - this.used
  }

  async during<T>(work: () => PromiseLike<T>): Promise<T> {
    this.#statements += 1
    try {
      return await work()
    } finally {
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
