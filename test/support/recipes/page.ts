/**
 * A page of docs/ followed as a reader follows it: its fenced `sql` and `sh` blocks, run in order. So a page
 * that no longer works fails the test that reads it.
 *
 * `sql` runs as in psql: statement by statement, each a transaction of its own, `\gexec` included. `sh` runs in
 * a shell that has the command `spillway`; a block with `spillway run` alone starts the daemon. Names that stand
 * for the reader's own (`https://siem.example.com`) are replaced by the test's.
 */
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type postgres from 'postgres'
import { type DaemonProcess, startDaemon } from '../daemon.ts'
import { programEnv } from '../program.ts'

export interface Block {
  readonly language: 'sql' | 'sh'
  readonly text: string
}

export interface PageOptions {
  /** Below docs/. */
  readonly path: string
  /** Only the section with this heading; all of the page without it. */
  readonly section?: string
  /** Whom `sql` blocks run as. */
  readonly sql: postgres.Sql
  /** What commands and the daemon get: `DATABASE_URL`, … */
  readonly env: { readonly DATABASE_URL: string; readonly [variable: string]: string }
  /** What stands in the page → what the test puts in its place. Each must occur. */
  readonly replace?: Readonly<Record<string, string>>
}

const docs = fileURLToPath(new URL('../../../docs/', import.meta.url))
const main = fileURLToPath(new URL('../../../src/main.ts', import.meta.url))
const run = promisify(execFile)

export class Page {
  readonly #options: PageOptions
  readonly #blocks: Block[]
  #daemon: DaemonProcess | undefined

  constructor(options: PageOptions) {
    this.#options = options
    let text = readFileSync(`${docs}${options.path}`, 'utf8')
    if (options.section !== undefined) text = sectionOf(text, options.section)
    for (const [name, own] of Object.entries(options.replace ?? {})) {
      if (!text.includes(name)) throw new Error(`${options.path} does not say ${name}`)
      text = text.replaceAll(name, own)
    }
    this.#blocks = blocksOf(text)
    if (this.#blocks.length === 0) throw new Error(`${options.path} has nothing to run`)
  }

  /** Started by the page's `spillway run`. */
  get daemon(): DaemonProcess {
    if (this.#daemon === undefined) throw new Error(`${this.#options.path} has not started the daemon yet`)
    return this.#daemon
  }

  /** Runs the blocks before the next one that has `words`. */
  async followTo(words: string): Promise<void> {
    for (;;) {
      const next = this.#blocks[0]
      if (next === undefined) throw new Error(`${this.#options.path} has no block with ${words}`)
      if (next.text.includes(words)) return
      await this.step()
    }
  }

  /** Runs the next block. Of SQL it returns what its last statement returned, of commands their output. */
  async step(): Promise<StepResult> {
    const block = this.#blocks.shift()
    if (block === undefined) throw new Error(`${this.#options.path} has no further block`)
    try {
      return block.language === 'sql'
        ? { rows: await this.#query(block.text) }
        : await this.#command(block.text)
    } catch (error) {
      throw new Error(`${this.#options.path}:\n${block.text}\n${error}`, { cause: error })
    }
  }

  /** Runs what is left, but for blocks in which `except` is found; returns what each block gave. */
  async finish({ except }: { readonly except?: RegExp } = {}): Promise<StepResult[]> {
    const results: StepResult[] = []
    for (let next = this.#blocks[0]; next !== undefined; next = this.#blocks[0]) {
      if (except?.test(next.text)) this.#blocks.shift()
      else results.push(await this.step())
    }
    return results
  }

  async #query(text: string): Promise<readonly postgres.Row[]> {
    const { sql } = this.#options
    let rows: readonly postgres.Row[] = []
    for (const { statement, execute } of statementsOf(text)) {
      rows = await sql.unsafe(statement)
      if (!execute) continue
      for (const made of rows.flatMap((row) => Object.values<string>(row))) await sql.unsafe(made)
    }
    return rows
  }

  async #command(text: string): Promise<StepResult> {
    const { DATABASE_URL, ...env } = this.#options.env
    if (text.trim() === 'spillway run') {
      this.#daemon = await startDaemon(DATABASE_URL, env)
      return {}
    }
    const shell = `spillway() { '${process.execPath}' '${main}' "$@"; }\n${text}`
    const { stdout } = await run('sh', ['-e', '-c', shell], {
      env: { ...programEnv, DATABASE_URL, ...env },
    })
    return { stdout }
  }
}

export interface StepResult {
  readonly rows?: readonly postgres.Row[]
  readonly stdout?: string
}

export function blocksOf(markdown: string): Block[] {
  return [...markdown.matchAll(/^```(sql|sh)\n([\s\S]*?)^```$/gm)].map(([, language, text = '']) => ({
    language: language === 'sql' ? 'sql' : 'sh',
    text,
  }))
}

/** From a heading to the next one that is not below it. */
function sectionOf(markdown: string, heading: string): string {
  const lines = markdown.split('\n')
  const start = lines.findIndex((line) => /^#+ /.test(line) && line.replace(/^#+ /, '') === heading)
  if (start < 0) throw new Error(`there is no section ${heading}`)
  const level = lines[start]?.indexOf(' ') ?? 0
  const length = lines.slice(start + 1).findIndex((line) => /^#+ /.test(line) && line.indexOf(' ') <= level)
  return lines.slice(start, length < 0 ? undefined : start + 1 + length).join('\n')
}

/** Statements end with a semicolon at the end of a line, or with `\gexec`. */
function statementsOf(text: string): { statement: string; execute: boolean }[] {
  return [...text.matchAll(/([\s\S]+?)(;|\\gexec)[ \t]*$/gm)].map(([, statement = '', end]) => ({
    statement,
    execute: end !== ';',
  }))
}
