/** Under the ordering `xact`: every transaction that can be seen is taken to be the last one. */
import type { TransactionsLook } from '../../../src/sources/observer.ts'
import { TransactionTracker as Fenced } from '../../../src/sources/tracker.ts'

export { IdTracker } from '../../../src/sources/tracker.ts'

export class TransactionTracker extends Fenced {
  override take(seen: TransactionsLook): boolean {
    return super.take({ ...seen, oldestOpen: seen.nextXact })
  }
}
