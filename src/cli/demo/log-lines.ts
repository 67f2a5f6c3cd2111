/** The daemon's log as people read it: its JSON lines in, the last few of them out as plain text. */

export interface LogLine {
  readonly text: string
  readonly warning: boolean
}

export class LogLines {
  readonly #keep: number
  readonly #onLine: (line: LogLine) => void
  #lines: LogLine[] = []

  constructor(keep: number, onLine: (line: LogLine) => void) {
    this.#keep = keep
    this.#onLine = onLine
  }

  get lines(): readonly LogLine[] {
    return this.#lines
  }

  /** Called by pino with one JSON line. */
  write(json: string): void {
    const line = readLogLine(json)
    if (!line) return
    this.#lines = [...this.#lines, line].slice(-this.#keep)
    this.#onLine(line)
  }
}

/** `12:00:01 warn  A delivery to … failed: …` */
export function readLogLine(json: string): LogLine | undefined {
  const fields: unknown = JSON.parse(json)
  if (typeof fields !== 'object' || fields === null) return undefined
  const { time, level, msg } = { time: '', level: '', msg: '', ...fields }
  const text = `${String(time).slice(11, 19)} ${String(level).padEnd(5)} ${String(msg)}`
  return { text, warning: !['trace', 'debug', 'info'].includes(level) }
}
