/**
 * Given to the daemon's process by `--import`: puts modules of ours in the place of the program's, so that a
 * test can show what happens without them. The program itself has no switch for it.
 */
import { registerHooks } from 'node:module'

/** The program's modules, from the root of the checkout, and what takes their place. */
const replacements = new Map([
  [programModule('src/sources/horizon.ts'), new URL('./horizon.ts', import.meta.url).href],
  [programModule('src/sources/tracker.ts'), new URL('./tracker.ts', import.meta.url).href],
])

registerHooks({
  resolve(specifier, context, nextResolve) {
    const resolved = nextResolve(specifier, context)
    const replacement = replacements.get(resolved.url)
    // A replacement may itself use what it replaces.
    if (replacement === undefined || context.parentURL === replacement) return resolved
    return { ...resolved, url: replacement }
  },
})

function programModule(path: string): string {
  return new URL(`../../../${path}`, import.meta.url).href
}
