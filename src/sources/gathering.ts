/**
 * Pages that are asked for at about the same time are read together (group-page.ts): when the horizon moves, the
 * streams of all tenants with new rows ask, as many at once as there is room for, and the others as they get it.
 *
 * States: *free* (whoever asks is read for at once, with all that ask in the same turn of the event loop) → *at work*
 * (those who ask meanwhile gather) → free. *Busy*, shortly after a statement for many: who asks gathers first, as
 * more are likely to ask. *Resting*, after a statement for many failed or took long: each reads alone. Nobody is held
 * up for longer than gathering may take and the patience with a statement for many, whatever is the matter with
 * the page of another (I6): who is not answered by then, or cannot be answered by such a statement, reads alone.
 */
import type { Asker, Question } from './group-page.ts'
import type { Oldest, Page, ReadRow } from './page.ts'
import type { Position } from './position.ts'

export interface Together {
  /** All ask for rows up to the same position. Who is not told of an end reads alone. */
  read(askers: readonly Asker[], upTo: Position): Promise<void>
}

export interface GatheringPolicy {
  /** As long as a statement takes that has no trouble, and little beside the time between two polls. */
  readonly gatherMs: number
  /** How long it is busy after a statement for many. */
  readonly busyMs: number
  /** Much longer than a statement for many takes, and too short to be noticed. */
  readonly patienceMs: number
  readonly restMs: number
}

const gatheringPolicy: GatheringPolicy = { gatherMs: 5, busyMs: 25, patienceMs: 200, restMs: 10_000 }
/** Fewer are no fewer statements worth speaking of. */
const fewest = 3
/** So many need not wait for more. */
const enough = 16
/** More gain nothing, and each waits for the others of its statement. */
const most = 64

export class Gathering {
  readonly #together: Together
  readonly #policy: GatheringPolicy
  #waiting: Waiting[] = []
  /** Statements. */
  #underWay = 0
  /** Runs while those who ask gather. */
  #gatherTimer: NodeJS.Timeout | undefined
  #busyUntil = Number.NEGATIVE_INFINITY
  #restsUntil = Number.NEGATIVE_INFINITY

  constructor(together: Together, policy = gatheringPolicy) {
    this.#together = together
    this.#policy = policy
  }

  /** The page of a question; `alone` reads it without the others. */
  async read<Row>(
    question: Question,
    make: (row: ReadRow) => Row,
    alone: () => Promise<Page<Row>>,
  ): Promise<Page<Row>> {
    if (performance.now() < this.#restsUntil) return alone()
    const rows: Row[] = []
    const waiting = new Waiting(question, (row) => rows.push(make(row)))
    this.#add(waiting)
    const answer = await waiting.answer
    if (answer) return { rows, last: answer.last, full: false, oldest: answer.oldest }
    return this.#work(alone)
  }

  #add(waiting: Waiting): void {
    this.#waiting.push(waiting)
    if (this.#waiting.length === enough) this.#beginSoon()
    if (this.#waiting.length > 1) return
    if (this.#underWay === 0 && !this.#isBusy) this.#beginSoon()
    else this.#gatherTimer = setTimeout(() => this.#begin(), this.#policy.gatherMs)
  }

  get #isBusy(): boolean {
    return performance.now() < this.#busyUntil
  }

  /** With all that ask in this turn of the event loop. */
  #beginSoon(): void {
    clearTimeout(this.#gatherTimer)
    this.#gatherTimer = undefined
    setImmediate(() => this.#begin())
  }

  #begin(): void {
    clearTimeout(this.#gatherTimer)
    this.#gatherTimer = undefined
    const waiting = this.#waiting
    this.#waiting = []
    for (const [upTo, group] of Map.groupBy(waiting, ({ question }) => question.range.upTo)) {
      for (let index = 0; index < group.length; index += most) {
        void this.#readAll(group.slice(index, index + most), upTo)
      }
    }
  }

  async #readAll(group: readonly Waiting[], upTo: Position): Promise<void> {
    const leave = () => {
      for (const waiting of group) waiting.leave()
    }
    if (group.length < fewest) return leave()
    this.#busyUntil = performance.now() + this.#policy.busyMs
    let isOver = false
    // What came while the event loop was busy is looked at first.
    const loseLater = () => setImmediate(() => !isOver && lose())
    const lose = () => {
      this.#rest()
      leave()
    }
    const patience = setTimeout(loseLater, this.#policy.patienceMs)
    // Each meets for itself what went wrong, if it concerns it.
    await this.#work(() => this.#together.read(group, upTo)).catch(() => this.#rest())
    isOver = true
    clearTimeout(patience)
    leave()
  }

  #rest(): void {
    this.#restsUntil = performance.now() + this.#policy.restMs
  }

  async #work<T>(work: () => Promise<T>): Promise<T> {
    this.#underWay += 1
    try {
      return await work()
    } finally {
      this.#underWay -= 1
      if (this.#underWay === 0 && this.#gatherTimer && !this.#isBusy) this.#beginSoon()
    }
  }
}

class Waiting implements Asker {
  readonly question: Question
  readonly #take: (row: ReadRow) => void
  readonly #answer = Promise.withResolvers<{ last: Position | undefined; oldest: Oldest } | undefined>()
  #last: Position | undefined
  #isOpen = true

  constructor(question: Question, take: (row: ReadRow) => void) {
    this.question = question
    this.#take = take
  }

  /** Undefined when it has to read alone. */
  get answer() {
    return this.#answer.promise
  }

  take(row: ReadRow): void {
    if (!this.#isOpen) return
    try {
      this.#take(row)
      this.#last = row.position
    } catch {
      // It meets the same when it reads alone; the others have nothing to do with it.
      this.leave()
    }
  }

  end(oldest: Oldest): void {
    if (this.#isOpen) this.#close({ last: this.#last, oldest })
  }

  leave(): void {
    if (this.#isOpen) this.#close(undefined)
  }

  #close(answer: { last: Position | undefined; oldest: Oldest } | undefined): void {
    this.#isOpen = false
    this.#answer.resolve(answer)
  }
}
