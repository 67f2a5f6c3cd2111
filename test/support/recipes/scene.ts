/** A page of docs/recipes and what it is followed with: the application it is about, writing, and an endpoint. */
import { readFileSync } from 'node:fs'
import type postgres from 'postgres'
import { createTestDatabase, whenDone } from '../postgres.ts'
import { type Receiver, startReceiver } from '../receiver.ts'
import { type Application, startApplication, type Transaction } from './application.ts'
import { arrived, Ledger, type Span, type Written } from './ledger.ts'
import { Page } from './page.ts'

export interface RecipeOptions {
  /** The page, below docs. */
  readonly path: string
  /** The application's tables, a file beside this one. */
  readonly schema: string
  /** What else is there before the application writes. */
  readonly prepare?: (sql: postgres.Sql) => Promise<unknown>
  readonly seed: number
  readonly processes: number
  readonly transaction: Transaction
  /** Whose destination the page adds beside the one for all. */
  readonly org: string
}

export interface Recipe {
  readonly sql: postgres.Sql
  readonly receiver: Receiver
  readonly ledger: Ledger
  readonly application: Application
  readonly page: Page
  /** Follows the page up to the destination that starts at "now", and tells when that was inserted. */
  addDestination(): Promise<Span>
  /** Waits until rows have come to everybody who is to get them. */
  arrive(rows: readonly Written[]): Promise<void>
}

/** A page runs a dozen commands, each a process of its own. */
export const recipeTimeoutMs = 240_000

export async function openRecipe(options: RecipeOptions): Promise<Recipe> {
  const { url, sql } = await createTestDatabase({ empty: true })
  const receiver = await startReceiver()
  whenDone(() => receiver.close())
  await sql.unsafe(readFileSync(new URL(options.schema, import.meta.url), 'utf8'))
  await options.prepare?.(sql)
  const ledger = new Ledger()
  const { seed, processes, transaction, org } = options
  const application = startApplication({ url, ledger, seed, processes, transaction })
  const page = new Page({
    path: options.path,
    sql,
    env: {
      DATABASE_URL: url,
      SPILLWAY_EGRESS_ALLOW: '127.0.0.0/8',
      SPILLWAY_INTER_BATCH_DELAY_MS: '0',
      SPILLWAY_BACKOFF_SCHEDULE_MS: '100',
    },
    replace: { 'https://siem.example.com': receiver.url },
  })
  return {
    sql,
    receiver,
    ledger,
    application,
    page,
    async addDestination() {
      await page.followTo('INSERT INTO spillway.destinations')
      const began = performance.now()
      await page.step()
      return { began, ended: performance.now() }
    },
    async arrive(rows) {
      const ids = (of: readonly Written[]) => of.map(({ id }) => id)
      await arrived(receiver, '/operations', ids(rows))
      await arrived(receiver, '/acme', ids(rows.filter(({ org_id }) => org_id === org)))
    },
  }
}
