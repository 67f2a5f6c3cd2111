/** Tables for people: padded columns, and on a terminal no line longer than it is wide. Pure. */

export interface TableColumn<Row> {
  readonly heading: string
  readonly value: (row: Row) => string
  readonly align?: 'right'
  /** May be cut with an ellipsis where the terminal is too narrow. */
  readonly shrinks?: boolean
}

const gap = '  '
/** A column that was cut further would say nothing. */
const narrowest = 8

/** The lines of a table, heading first. Without `width` nothing is cut. */
export function renderTable<Row>(
  columns: readonly TableColumn<Row>[],
  rows: readonly Row[],
  width?: number,
): string[] {
  const cells = rows.map((row) => columns.map((column) => printable(column.value(row))))
  const lines = [columns.map(({ heading }) => heading), ...cells]
  const widths = columns.map((_, index) => Math.max(...lines.map((line) => lengthOf(line[index] ?? ''))))
  shrink(widths, columns, width)
  return lines.map((line) => {
    const padded = columns.map(({ align }, index) => pad(line[index] ?? '', widths[index] ?? 0, align))
    return cut(padded.join(gap).trimEnd(), width ?? Number.POSITIVE_INFINITY)
  })
}

/** Undefined for a file or a pipe, where whole lines are wanted. */
export function terminalWidth(stream: NodeJS.WriteStream): number | undefined {
  return stream.isTTY ? stream.columns || 80 : undefined
}

/** On one line and without control characters: a name in the database must not steer the terminal (ESC …). */
export function printable(text: string): string {
  return text.replaceAll(/\p{Cc}+/gu, ' ')
}

export function cut(text: string, length: number): string {
  return lengthOf(text) <= length ? text : `${[...text].slice(0, Math.max(length - 1, 0)).join('')}…`
}

/** Takes from the widest of those that may shrink until the line fits or none is left. */
function shrink(
  widths: number[],
  columns: readonly TableColumn<never>[],
  width = Number.POSITIVE_INFINITY,
): void {
  const total = () => widths.reduce((sum, each) => sum + each, gap.length * (widths.length - 1))
  while (total() > width) {
    const shrinking = widths.map((each, index) => (columns[index]?.shrinks ? each : 0))
    const widest = Math.max(...shrinking)
    if (widest <= narrowest) return
    widths[shrinking.indexOf(widest)] = widest - 1
  }
}

function pad(text: string, width: number, align: 'right' | undefined): string {
  const fitted = cut(text, width)
  const filler = ' '.repeat(width - lengthOf(fitted))
  return align === 'right' ? filler + fitted : fitted + filler
}

/** In code points, so that an emoji is not cut in two. */
function lengthOf(text: string): number {
  return [...text].length
}
