import { expect, it } from 'vitest'
import { nothingWrong } from '../support/accounting.ts'
import { variants } from '../support/audit-table.ts'
import { seedOf } from '../support/random.ts'
import { runWriters } from '../support/writers/run.ts'

const seed = seedOf()

it(`loses nothing over kill -9, and repeats only whole batches under their ids (seed ${seed})`, async () => {
  const [variant] = variants
  const { everything, tenants } = await runWriters({
    variant,
    seed,
    writers: 6,
    transactions: 30,
    restarts: Array.from({ length: 8 }, () => 'SIGKILL'),
    // An endpoint that also drops connections, so that kills meet batches in every state.
    droppedShare: 0.04,
    env: { SPILLWAY_BACKOFF_SCHEDULE_MS: '50' },
  })
  for (const destination of [everything, ...tenants]) expect(destination).toMatchObject(nothingWrong)
})
