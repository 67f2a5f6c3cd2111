/** The watchers of all registered sources, started and stopped as the rows of `spillway.sources` change. */
import type { Floor } from './floors.ts'
import { type SourceDefinition, sameDefinition } from './source.ts'
import { Watcher, type WatcherDeps } from './watcher.ts'

interface Entry {
  readonly watcher: Watcher
  readonly stop: AbortController
  readonly done: Promise<void>
}

const nothing = { reader: undefined, horizon: undefined, oldest: undefined, formerOldest: undefined }

export class SourceSet {
  readonly #deps: WatcherDeps
  readonly #entries = new Map<string, Entry>()
  readonly #formerLives = new Map<string, number>()
  #definitions: readonly SourceDefinition[] = []

  constructor(deps: WatcherDeps) {
    this.#deps = deps
  }

  /** All that are registered; a disabled one is known and not read. */
  get definitions(): readonly SourceDefinition[] {
    return this.#definitions
  }

  get watchers(): Watcher[] {
    return [...this.#entries.values()].map(({ watcher }) => watcher)
  }

  /** How far the sources can be read, those of which it is known. */
  get horizons(): ReadonlyMap<string, Floor> {
    return new Map(
      [...this.#entries].flatMap(([logType, { watcher }]) => {
        const position = watcher.horizon
        return position === undefined ? [] : [[logType, { position, life: this.#lifeOf(logType) }]]
      }),
    )
  }

  /** Counts the lives of a source in this run: a new one begins when it is registered anew or went back in time. */
  #lifeOf(logType: string): number {
    return (this.#formerLives.get(logType) ?? 0) + (this.#entries.get(logType)?.watcher.rewinds ?? 0)
  }

  /** There may be new rows of a log type. */
  hint(logType: string): void {
    this.#entries.get(logType)?.watcher.hint()
  }

  /** The watcher of a log type, or a view of nothing; asked anew each time, since sources come and go. */
  view(logType: string) {
    const find = () => this.#entries.get(logType)?.watcher ?? nothing
    const life = () => this.#lifeOf(logType)
    return {
      get life() {
        return life()
      },
      get reader() {
        return find().reader
      },
      get horizon() {
        return find().horizon
      },
      get oldest() {
        return find().oldest
      },
      get formerOldest() {
        return find().formerOldest
      },
    }
  }

  /** Makes the watchers fit the definitions; returns the log types that are new, gone or different. */
  async apply(definitions: readonly SourceDefinition[]): Promise<Set<string>> {
    const changed = changedLogTypes(this.#definitions, definitions)
    const enabled = definitions.filter((definition) => definition.enabled)
    const wanted = new Map(enabled.map((definition) => [definition.logType, definition]))
    this.#definitions = definitions
    const stale = [...this.#entries].filter(([logType, { watcher }]) => {
      const definition = wanted.get(logType)
      return definition === undefined || !sameDefinition(definition, watcher.definition)
    })
    const problems = new Map<string, string | undefined>()
    await Promise.all(
      stale.map(async ([logType, { watcher, stop, done }]) => {
        this.#formerLives.set(logType, this.#lifeOf(logType) + 1)
        this.#entries.delete(logType)
        stop.abort()
        await done
        problems.set(logType, watcher.problem)
      }),
    )
    for (const definition of wanted.values()) {
      if (this.#entries.has(definition.logType)) continue
      const watcher = new Watcher(definition, this.#deps, problems.get(definition.logType))
      const stop = new AbortController()
      this.#entries.set(definition.logType, { watcher, stop, done: watcher.run(stop.signal) })
    }
    return changed
  }

  async stop(): Promise<void> {
    await this.apply([])
  }
}

function changedLogTypes(
  before: readonly SourceDefinition[],
  after: readonly SourceDefinition[],
): Set<string> {
  const missingIn = (others: readonly SourceDefinition[]) => (definition: SourceDefinition) =>
    !others.some((other) => sameDefinition(definition, other))
  const different = [...before.filter(missingIn(after)), ...after.filter(missingIn(before))]
  return new Set(different.map(({ logType }) => logType))
}
