/**
 * Randomised writers on every form of audit table, the daemon restarted under them. A failure prints the seed;
 * `SPILLWAY_TEST_SEED=<seed> npm test -- --project e2e writers` runs the same plans again, and
 * `SPILLWAY_SOAK=<minutes>` lets each of them write for that long.
 */
import { describe, expect, it } from 'vitest'
import { nothingWrong } from '../support/accounting.ts'
import { variants } from '../support/audit-table.ts'
import { seedOf } from '../support/random.ts'
import { type Run, runWriters } from '../support/writers/run.ts'

const seed = seedOf()
const soakMs = Number(process.env.SPILLWAY_SOAK ?? 0) * 60_000

const deeds = [
  ...['insert', 'select', 'copy', 'insertDrawn', 'savepoint rolled back', 'savepoint released', 'held open'],
  ...['commit', 'rollback', 'commit prepared', 'delete'],
]
const partitionDeeds = ['insert into partition', 'copy into partition', 'detach partition']

for (const variant of variants) {
  describe(`writers on a table of the form ${variant.name}`, () => {
    it(`get every committed row delivered once and in order, over a SIGTERM and a SIGKILL (seed ${seed})`, {
      timeout: 120_000 + 3 * soakMs,
    }, async () => {
      const run = await runWriters({
        variant,
        seed,
        soakMs,
        writers: 10,
        transactions: 30,
        restarts: ['SIGTERM', 'SIGKILL'],
      })
      for (const destination of [run.everything, ...run.tenants]) {
        expect(destination).toEqual({
          ...nothingWrong,
          repeatedUnkilled: [],
          repeatedBatches: expect.any(Number),
        })
      }
      expect(run.notDelivered).toEqual([])
      expect(run.complaints).toEqual([])
      // A run in which one of these never happened would say nothing of it.
      const expected = variant.partitioned ? [...deeds, ...partitionDeeds] : deeds
      expect(expected.filter((deed) => !run.deeds[deed])).toEqual([])
      if (variant.ordering === 'id' && !variant.partitioned) printNaive(run)
    })
  })
}

// After a restart nobody could tell what was deleted unsent: these run through.
for (const variant of variants.filter(({ partitioned }) => partitioned)) {
  it(`retention that leaves nothing of what was delivered is no deletion of anything else, on a table of the form ${variant.name} (seed ${seed})`, {
    timeout: 120_000,
  }, async () => {
    const run = await runWriters({
      variant,
      seed,
      writers: 10,
      transactions: 20,
      restarts: [],
      hasThoroughKeeper: true,
      env: { SPILLWAY_POLL_INTERVAL_MS: '100' },
    })
    for (const destination of [run.everything, ...run.tenants]) {
      expect(destination).toEqual({ ...nothingWrong, repeatedUnkilled: [], repeatedBatches: 0 })
    }
    expect(run.notDelivered).toEqual([])
    expect(run.complaints).toEqual([])
  })
}

/** The figure of the README. */
function printNaive({ committed, removed, lostByNaiveReader: lost }: Run): void {
  const rows = committed - removed
  const percent = ((100 * lost) / rows).toFixed(0)
  process.stdout.write(
    `A plain "id > cursor" reader lost ${lost} of ${rows} committed rows (${percent} %); Spillway lost 0.\n`,
  )
  // Writers that lose it nothing would prove nothing of Spillway either.
  expect(lost).toBeGreaterThan(0)
}
