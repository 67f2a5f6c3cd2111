/** A horizon that waits for nobody: the highest id that can be seen is taken to be safe. */
import type { Horizon as Fenced, Observation } from '../../../src/sources/horizon.ts'
import { comparePositions, type Position } from '../../../src/sources/position.ts'

export class Horizon implements Pick<Fenced, keyof Fenced> {
  position: Position | undefined
  readonly pending = false
  readonly waitingFor = []

  constructor(start?: Position) {
    this.position = start
  }

  observe({ highest }: Observation, takeFence: boolean): boolean {
    if (!takeFence) return false
    if (this.position !== undefined && comparePositions(highest, this.position) <= 0) return false
    this.position = highest
    return true
  }

  reset(): void {}
}
