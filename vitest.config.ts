import { fileURLToPath } from 'node:url'
import { defineConfig, type TestProjectInlineConfiguration } from 'vitest/config'

// Workers are many and short; half of their start is the compilation of what they import.
process.env.NODE_COMPILE_CACHE ??= fileURLToPath(new URL('.spillway/compile-cache', import.meta.url))

/** A folder of tests. What needs PostgreSQL gets it from the global set-up. */
function project(
  name: string,
  options: TestProjectInlineConfiguration['test'],
): TestProjectInlineConfiguration {
  const include = [`test/${name}/**/*.test.ts`]
  // What is waited for may take as long as the test may: the default of a second measures the machine.
  const waiting = { poll: { timeout: 60_000 } }
  return { test: { name, include, environment: 'node', retry: 0, expect: waiting, ...options } }
}

/** Nothing in them outlives a test, so a worker need not be made anew, with all it imports, for each file. */
const shared = { isolate: false }
/**
 * JSON.parse of V8 13.6 takes one key for another where a text that it read before had that in the same place
 * ('\\"' for '"}'): what is compared with it, for random keys, begins each time with nothing read.
 */
const parsing = ['test/unit/events/**/*.test.ts', 'test/unit/providers/**/*.test.ts']
const withPostgres = { globalSetup: ['test/support/global-setup.ts'] }

/**
 * They measure time: beside other daemons they would measure those. Kills keep both cores busy with starts, and beside them
 * leases run out.
 */
const alone = [
  'isolation',
  'hostile-receiver',
  'pacing',
  'cuts',
  'cuts-server',
  'replicas/rolling',
  'replicas/sharing',
  'replicas/kills',
]
const timed = alone.map((name) => `test/e2e/${name}.test.ts`)

export default defineConfig({
  test: {
    // The tests share the machine with a PostgreSQL and the daemons they start; two cores are the least.
    maxWorkers: 2,
    projects: [
      project('unit', { ...shared, exclude: parsing, testTimeout: 10_000 }),
      project('unit-parsing', { include: parsing, testTimeout: 10_000 }),
      project('conformance', { ...shared, testTimeout: 30_000 }),
      project('integration', { ...withPostgres, testTimeout: 60_000, hookTimeout: 60_000 }),
      project('e2e', {
        ...withPostgres,
        exclude: timed,
        testTimeout: 120_000,
        hookTimeout: 120_000,
        // They wait more than they work.
        maxWorkers: 3,
        sequence: { groupOrder: 1 },
      }),
      project('e2e-timed', {
        ...withPostgres,
        include: timed,
        testTimeout: 120_000,
        hookTimeout: 120_000,
        maxWorkers: 1,
        sequence: { groupOrder: 2 },
      }),
    ],
  },
})
