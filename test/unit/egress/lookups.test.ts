import type { LookupFunction } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { Lookups } from '../../../src/egress/lookups.ts'

type Answer = Parameters<LookupFunction>[2]

/** Answers when the test says so. */
class Resolver {
  readonly asked: string[] = []
  readonly #open = new Map<string, Answer>()

  readonly resolve: LookupFunction = (hostname, _options, done) => {
    this.asked.push(hostname)
    this.#open.set(hostname, done)
  }

  get open(): string[] {
    return [...this.#open.keys()]
  }

  answer(hostname: string, error: NodeJS.ErrnoException | null = null): void {
    const done = this.#open.get(hostname)
    this.#open.delete(hostname)
    done?.(error, error ? [] : [{ address: '8.8.8.8', family: 4 }])
  }
}

const slowMs = 5

function ask(lookups: Lookups, hostname: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    lookups.lookup(hostname, { all: true }, (error, found) => (error ? reject(error) : resolve(found)))
  })
}

/** Names become slow by taking their time once. */
async function slowNames(lookups: Lookups, resolver: Resolver, names: readonly string[]): Promise<void> {
  const asked = names.map((name) => ask(lookups, name))
  await delay(5 * slowMs)
  for (const name of names) resolver.answer(name)
  await Promise.all(asked)
  resolver.asked.length = 0
}

describe('lookups', () => {
  it('ask once for a name that many want to know, and again when it is answered', async () => {
    const resolver = new Resolver()
    const lookups = new Lookups(resolver.resolve)
    const both = [ask(lookups, 'a.example'), ask(lookups, 'a.example')]
    expect(resolver.asked).toEqual(['a.example'])
    resolver.answer('a.example')
    expect(await Promise.all(both)).toEqual(Array(2).fill([{ address: '8.8.8.8', family: 4 }]))
    const third = ask(lookups, 'a.example')
    expect(resolver.asked).toEqual(['a.example', 'a.example'])
    resolver.answer('a.example', Object.assign(new Error('no'), { code: 'ENOTFOUND' }))
    await expect(third).rejects.toMatchObject({ code: 'ENOTFOUND' })
  })

  it('leave room for others, however many slow names there are', async () => {
    const resolver = new Resolver()
    const lookups = new Lookups(resolver.resolve, { slowMs, maxSlow: 2 })
    const slow = ['a.slow', 'b.slow', 'c.slow', 'd.slow', 'e.slow']
    await slowNames(lookups, resolver, slow)
    const waiting = slow.map((name) => ask(lookups, name))
    const quick = ask(lookups, 'quick.example')
    expect(resolver.open).toEqual(['a.slow', 'b.slow', 'quick.example'])
    resolver.answer('quick.example')
    await quick
    resolver.answer('b.slow')
    expect(resolver.open).toEqual(['a.slow', 'c.slow'])
    for (const name of ['a.slow', 'c.slow', 'd.slow', 'e.slow']) resolver.answer(name)
    await Promise.all(waiting)
    expect(resolver.asked.filter((name) => name.endsWith('slow'))).toEqual(slow)
  })

  it('hold a name for an ordinary one again after a quick answer, also if that is no', async () => {
    const resolver = new Resolver()
    // What is asked for below is answered at once, far within a second.
    const lookups = new Lookups(resolver.resolve, { slowMs: 50, maxSlow: 1 })
    const asked = ['a.slow', 'b.slow'].map((name) => ask(lookups, name))
    await delay(150)
    for (const name of ['a.slow', 'b.slow']) resolver.answer(name)
    await Promise.all(asked)
    const first = ask(lookups, 'a.slow')
    resolver.answer('a.slow', Object.assign(new Error('no'), { code: 'ENOTFOUND' }))
    await expect(first).rejects.toMatchObject({ code: 'ENOTFOUND' })
    const both = [ask(lookups, 'b.slow'), ask(lookups, 'a.slow')]
    expect(resolver.open).toEqual(['b.slow', 'a.slow'])
    for (const name of ['a.slow', 'b.slow']) resolver.answer(name)
    await Promise.all(both)
  })

  it('go on with those that wait when one has failed', async () => {
    const resolver = new Resolver()
    const lookups = new Lookups(resolver.resolve, { slowMs, maxSlow: 1 })
    await slowNames(lookups, resolver, ['a.slow', 'b.slow'])
    const first = ask(lookups, 'a.slow')
    const second = ask(lookups, 'b.slow')
    resolver.answer('a.slow', Object.assign(new Error('no'), { code: 'EAI_AGAIN' }))
    await expect(first).rejects.toMatchObject({ code: 'EAI_AGAIN' })
    expect(resolver.open).toEqual(['b.slow'])
    resolver.answer('b.slow')
    await second
  })
})
