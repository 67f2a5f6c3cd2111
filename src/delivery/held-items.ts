/** What a stream has read and not settled, by rising position: handed out as batches up to a point, waiting beyond it. */
import { comparePositions, type Position } from '../sources/position.ts'
import { heldBytes, type Item } from './item.ts'

export class HeldItems {
  #items: Item[] = []
  #next = 0
  #bytes = 0

  get items(): readonly Item[] {
    return this.#items
  }

  /** The index of the first one that has not been handed out. */
  get next(): number {
    return this.#next
  }

  get areAllHandedOut(): boolean {
    return this.#next === this.#items.length
  }

  /** The room that they take; what was handed out and is not settled yet still takes its own. */
  get bytes(): number {
    return this.#bytes
  }

  /** Returns the bytes that they add. */
  add(items: readonly Item[]): number {
    let added = 0
    for (const item of items) {
      this.#items.push(item)
      added += heldBytes(item)
    }
    this.#bytes += added
    return added
  }

  handOut(count: number): void {
    this.#next += count
  }

  /** Forgets those handed out that lie up to `position`. */
  drop(position: Position): void {
    const dropped = this.#items.splice(0, Math.min(this.#indexAfter(position), this.#next))
    this.#next -= dropped.length
    for (const item of dropped) this.#bytes -= heldBytes(item)
  }

  firstAfter(position: Position): Position | undefined {
    return this.#items[this.#indexAfter(position)]?.position
  }

  clear(): void {
    this.#items = []
    this.#next = 0
    this.#bytes = 0
  }

  #indexAfter(position: Position): number {
    let low = 0
    let high = this.#items.length
    while (low < high) {
      const middle = (low + high) >> 1
      const item = this.#items[middle]
      if (item && comparePositions(item.position, position) > 0) high = middle
      else low = middle + 1
    }
    return low
  }
}
