/** Takes a secret from stdin, or asks for it without showing what is typed. Never from an argument: those show. */
import { createInterface } from 'node:readline'
import { Writable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { type CommandContext, CommandError } from '../command.ts'

/** Throws `CommandError` when nothing comes, or the user breaks it off. */
export async function readSecret(context: CommandContext): Promise<string> {
  const stdin = context.stdin ?? process.stdin
  const isTerminal = 'isTTY' in stdin && stdin.isTTY === true
  const secret = isTerminal ? await ask(stdin, context) : await text(stdin)
  // `echo`, editors and `openssl` end what they write with a line break that nobody means.
  const meant = secret.replace(/\r?\n$/, '')
  if (meant === '') {
    throw new CommandError(
      'There was no secret.',
      'Pipe it in (… | spillway secret encrypt …), or type it when asked.',
    )
  }
  return meant
}

function ask(input: NodeJS.ReadableStream, { stderr, signal }: CommandContext): Promise<string> {
  // Where readline would repeat the keys.
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() })
  const lines = createInterface({ input, output: nowhere, terminal: true, historySize: 0 })
  stderr.write('Secret (it is not shown): ')
  return new Promise<string>((resolve, reject) => {
    const onAbort = () => lines.close()
    signal.addEventListener('abort', onAbort, { once: true })
    lines.once('line', (line) => {
      resolve(line)
      lines.close()
    })
    lines.once('SIGINT', () => lines.close())
    // After a line this has no effect.
    lines.once('close', () => {
      signal.removeEventListener('abort', onAbort)
      stderr.write('\n')
      reject(new CommandError('Broken off before a secret was given.', 'Nothing was changed.'))
    })
  })
}
