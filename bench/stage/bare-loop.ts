/** Runs the bare loop (bare-loop-process.ts) to its end. */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

export interface BareLoopOptions {
  readonly databaseUrl: string
  readonly url: string
  readonly batchSize: number
  /** With one, bodies are signed with it and gzipped. */
  readonly secret?: string
}

export async function runBareLoop({
  databaseUrl,
  url,
  batchSize,
  secret = '',
}: BareLoopOptions): Promise<void> {
  const child = fork(fileURLToPath(new URL('./bare-loop-process.ts', import.meta.url)), {
    env: {
      PATH: process.env.PATH,
      DATABASE_URL: databaseUrl,
      URL: url,
      BATCH_SIZE: String(batchSize),
      SECRET: secret,
    },
  })
  const [code] = await once(child, 'exit')
  if (code !== 0) throw new Error(`the bare loop ended with ${code}`)
}
