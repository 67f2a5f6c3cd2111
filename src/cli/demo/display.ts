/**
 * Where the demo shows itself: drawn in place on a terminal, as plain lines elsewhere, or not at all when
 * only the JSON at the end is wanted.
 */
import { styleText } from 'node:util'
import { writeLine } from '../command.ts'
import type { LogLine } from './log-lines.ts'
import { introduction, type Moment, renderPlain, renderScreen, type StyledLine } from './screen.ts'

export interface Display {
  readonly redrawMs: number
  /** Before anything runs. */
  note(text: string): void
  log(line: LogLine): void
  show(moment: Moment): void
}

export function createDisplay(stream: NodeJS.WriteStream, silent: boolean): Display {
  if (silent) return { redrawMs: 500, note() {}, log() {}, show() {} }
  return stream.isTTY ? new TerminalDisplay(stream) : new PlainDisplay(stream)
}

/** Control sequences (ECMA-48) that every terminal of today knows. */
const clearLine = '\u001b[2K'
const clearBelow = '\u001b[J'
const up = (lines: number) => (lines > 0 ? `\u001b[${lines}A` : '')

const formats = {
  title: 'bold',
  quiet: 'dim',
  good: 'green',
  warning: 'yellow',
} as const satisfies Record<Exclude<StyledLine['style'], 'plain'>, string>

class TerminalDisplay implements Display {
  readonly redrawMs = 200
  readonly #stream: NodeJS.WriteStream
  #drawn = 0

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream
  }

  note(text: string): void {
    writeLine(this.#stream, text)
  }

  /** Its last lines are part of the screen. */
  log(): void {}

  show(moment: Moment): void {
    const { columns = 80, rows = 24 } = this.#stream
    // A screen that is taller than the terminal would scroll away from under the cursor.
    const lines = renderScreen(moment, columns - 1).slice(0, rows - 1)
    const text = lines.map((line) => `${clearLine}${this.#styled(line)}\n`).join('')
    this.#stream.write(`\r${up(this.#drawn)}${text}${clearBelow}`)
    this.#drawn = lines.length
  }

  /** Without colours where NO_COLOR or the terminal asks for it. */
  #styled({ text, style }: StyledLine): string {
    if (style === 'plain' || text === '') return text
    return styleText(formats[style], text, { stream: this.#stream })
  }
}

class PlainDisplay implements Display {
  readonly redrawMs = 1_000
  readonly #stream: NodeJS.WriteStream

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream
    for (const text of introduction) writeLine(stream, text)
  }

  note(text: string): void {
    writeLine(this.#stream, text)
  }

  log({ text }: LogLine): void {
    writeLine(this.#stream, `  log  ${text}`)
  }

  show(moment: Moment): void {
    writeLine(this.#stream, renderPlain(moment))
  }
}
