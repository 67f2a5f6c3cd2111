/** Prometheus' own checks, from its command `promtool`. */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

/** `npm test` sees to it that it is there, or says that the tests are left out. */
export const promtoolIsMissing = (process.env.SPILLWAY_TEST_MISSING ?? '').split(',').includes('promtool')

/** Its exit code and what it said. */
export function promtool(args: readonly string[], input = ''): { status: number | null; output: string } {
  const cwd = fileURLToPath(new URL('../../docs/prometheus', import.meta.url))
  const { status, stdout, stderr, error } = spawnSync('promtool', args, { input, cwd, encoding: 'utf8' })
  if (error) throw error
  return { status, output: `${stdout}${stderr}` }
}
