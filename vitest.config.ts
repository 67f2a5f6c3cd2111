import { fileURLToPath } from 'node:url'
import { defineConfig, type TestProjectInlineConfiguration } from 'vitest/config'

// Workers are many and short; half of their start is the compilation of what they import.
process.env.NODE_COMPILE_CACHE ??= fileURLToPath(new URL('.spillway/compile-cache', import.meta.url))

/** A folder of tests. What needs PostgreSQL gets it from the global set-up. */
function project(
  name: string,
  options: TestProjectInlineConfiguration['test'],
): TestProjectInlineConfiguration {
  return { test: { name, include: [`test/${name}/**/*.test.ts`], environment: 'node', retry: 0, ...options } }
}

/** Nothing in them outlives a test, so a worker need not be made anew, with all it imports, for each file. */
const shared = { isolate: false }
const withPostgres = { globalSetup: ['test/support/global-setup.ts'] }

export default defineConfig({
  test: {
    // The tests share the machine with a PostgreSQL and the daemons they start; two cores are the least.
    maxWorkers: 2,
    projects: [
      project('unit', { ...shared, testTimeout: 10_000 }),
      project('conformance', { ...shared, testTimeout: 30_000 }),
      project('integration', { ...withPostgres, testTimeout: 60_000, hookTimeout: 60_000 }),
      project('e2e', { ...withPostgres, testTimeout: 120_000, hookTimeout: 120_000 }),
    ],
  },
})
