/** Asks again and again until it is so; returns after how many milliseconds. The test's own time limit ends it. */
import { setTimeout as delay } from 'node:timers/promises'

export async function until(isSo: () => boolean | Promise<boolean>): Promise<number> {
  const began = performance.now()
  while (!(await isSo())) await delay(5)
  return performance.now() - began
}
