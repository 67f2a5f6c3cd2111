/**
 * One pool of connections for each TLS identity, so that a connection never serves a request that should
 * have shown another certificate or trusts another authority.
 *
 * Equal contents are one identity, however often they were parsed. A pool is made with the first request,
 * lives for a minute after the last one, and of those that nobody uses at most 256 are kept, the latest used
 * (I9): thousands of destinations with certificates of their own cost what those cost that are busy.
 */
import { createHash } from 'node:crypto'
import { createSecureContext, type SecureContext } from 'node:tls'
import { HttpFailure, type TlsIdentity } from '../../providers/provider.ts'

interface Closable {
  destroy(): Promise<unknown>
}

export interface IdentityPoolsOptions<A extends Closable> {
  readonly open: (context: SecureContext | undefined) => A
  readonly idleMs?: number
  readonly maxIdle?: number
}

interface Pool<A> {
  readonly agent: A
  users: number
  idleTimer: NodeJS.Timeout | undefined
}

/** Longer than the pauses between batches, far shorter than those of a back-off. */
const defaultIdleMs = 60_000
const defaultMaxIdle = 256

/** The pool of those who bring no identity; never closed before the end. */
const anonymous = ''

export class IdentityPools<A extends Closable> {
  readonly #open: IdentityPoolsOptions<A>['open']
  readonly #idleMs: number
  readonly #maxIdle: number
  /** By the time of their last use, the earliest first. */
  readonly #pools = new Map<string, Pool<A>>()
  /** Identities are the same objects as long as their destination is open. */
  readonly #keys = new WeakMap<TlsIdentity, string>()
  #closed = false

  constructor({ open, idleMs = defaultIdleMs, maxIdle = defaultMaxIdle }: IdentityPoolsOptions<A>) {
    this.#open = open
    this.#idleMs = idleMs
    this.#maxIdle = maxIdle
  }

  /** How many pools are open. */
  get size(): number {
    return this.#pools.size
  }

  /** Throws `HttpFailure` (`tls`) when the identity cannot be read. */
  async use<T>(identity: TlsIdentity | undefined, work: (agent: A) => Promise<T>): Promise<T> {
    if (this.#closed) throw new HttpFailure('aborted', 'The HTTP client was closed.')
    const key = this.#keyOf(identity)
    const pool = this.#take(key, identity)
    try {
      return await work(pool.agent)
    } finally {
      this.#release(key, pool)
    }
  }

  /** Breaks off what is under way. */
  async close(): Promise<void> {
    this.#closed = true
    const pools = [...this.#pools.values()]
    this.#pools.clear()
    for (const { idleTimer } of pools) clearTimeout(idleTimer)
    await Promise.all(pools.map(({ agent }) => agent.destroy()))
  }

  #keyOf(identity: TlsIdentity | undefined): string {
    if (identity === undefined) return anonymous
    const known = this.#keys.get(identity)
    if (known !== undefined) return known
    const { ca = null, cert = null, key = null } = identity
    const digest = createHash('sha256')
      .update(JSON.stringify([ca, cert, key]))
      .digest('base64')
    this.#keys.set(identity, digest)
    return digest
  }

  #take(key: string, identity: TlsIdentity | undefined): Pool<A> {
    const pool = this.#pools.get(key) ?? {
      agent: this.#open(identity && contextOf(identity)),
      users: 0,
      idleTimer: undefined,
    }
    clearTimeout(pool.idleTimer)
    pool.idleTimer = undefined
    pool.users += 1
    this.#pools.delete(key)
    this.#pools.set(key, pool)
    return pool
  }

  #release(key: string, pool: Pool<A>): void {
    pool.users -= 1
    if (pool.users > 0 || key === anonymous || this.#closed) return
    pool.idleTimer = setTimeout(() => this.#drop(key, pool), this.#idleMs)
    pool.idleTimer.unref()
    const idle = [...this.#pools].filter(([, { idleTimer }]) => idleTimer !== undefined)
    for (const [oldKey, old] of idle.slice(0, Math.max(0, idle.length - this.#maxIdle))) {
      this.#drop(oldKey, old)
    }
  }

  #drop(key: string, pool: Pool<A>): void {
    clearTimeout(pool.idleTimer)
    this.#pools.delete(key)
    void pool.agent.destroy()
  }
}

function contextOf({ ca, cert, key }: TlsIdentity): SecureContext {
  try {
    return createSecureContext({
      ...(ca !== undefined && { ca }),
      ...(cert !== undefined && { cert }),
      ...(key !== undefined && { key }),
    })
  } catch {
    // Not as the cause: nobody promises that OpenSSL's words hold nothing of the key (I8).
    throw new HttpFailure(
      'tls',
      'The CA, the client certificate or its key cannot be read as PEM, or do not fit.',
    )
  }
}
