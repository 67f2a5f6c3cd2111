/**
 * What `/readyz` says: the checks of all parts, by their names. A check only looks at what its part knows already, so
 * that an answer costs nothing and never waits.
 */
/** What is wrong, in a short sentence for operators each; nothing where all is well. */
export type Check = () => string | undefined | readonly string[]

export class Readiness {
  readonly #checks: readonly { readonly name: string; readonly check: Check }[]

  constructor(checks: Readonly<Record<string, Check>>) {
    this.#checks = Object.entries(checks).map(([name, check]) => ({ name, check }))
  }

  /** Empty when the daemon can do its work. A check that fails itself is a problem, and hides no other. */
  get problems(): string[] {
    return this.#checks.flatMap(({ name, check }) => {
      try {
        return check() ?? []
      } catch {
        return `${name}: cannot be told`
      }
    })
  }
}
