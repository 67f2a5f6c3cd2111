/** The proof that `writers.test.ts` can fail: the same run, with a horizon that waits for nobody. */
import { fileURLToPath, pathToFileURL } from 'node:url'
import { describe, expect, it } from 'vitest'
import { variants } from '../support/audit-table.ts'
import { seedOf } from '../support/random.ts'
import { runWriters } from '../support/writers/run.ts'

const seed = seedOf()
const register = fileURLToPath(new URL('../support/without-fence/register.ts', import.meta.url))

for (const variant of variants.filter(({ partitioned }) => !partitioned)) {
  describe(`without the fence, writers on a table of the form ${variant.name}`, () => {
    it(`lose rows (seed ${seed})`, async () => {
      const { everything, committed } = await runWriters({
        variant,
        seed,
        writers: 10,
        transactions: 10,
        restarts: [],
        env: { NODE_OPTIONS: `--import=${pathToFileURL(register)}` },
      })
      process.stdout.write(
        `Without its fence, Spillway lost ${everything.lost.length} of ${committed} rows.\n`,
      )
      expect(everything.lost.length).toBeGreaterThan(0)
      // Nothing else has changed.
      expect(everything).toMatchObject({ ghosts: [], foreign: [], outOfOrder: [], changed: [] })
    })
  })
}
