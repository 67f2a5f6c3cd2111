import { defineConfig, type TestProjectInlineConfiguration } from 'vitest/config'

/** A folder of tests. What needs PostgreSQL gets it from the global set-up. */
function project(
  name: string,
  options: TestProjectInlineConfiguration['test'],
): TestProjectInlineConfiguration {
  return { test: { name, include: [`test/${name}/**/*.test.ts`], environment: 'node', retry: 0, ...options } }
}

const withPostgres = { globalSetup: ['test/support/global-setup.ts'] }

export default defineConfig({
  test: {
    // The tests share the machine with a PostgreSQL and the daemons they start; two cores are the least.
    maxWorkers: 2,
    projects: [
      project('unit', { testTimeout: 10_000 }),
      project('conformance', { testTimeout: 30_000 }),
      project('integration', { ...withPostgres, testTimeout: 60_000, hookTimeout: 60_000 }),
      project('e2e', { ...withPostgres, testTimeout: 120_000, hookTimeout: 120_000 }),
    ],
  },
})
