/** Reads the Dockerfile as far as the tests need it. */
import { readFileSync } from 'node:fs'

export const dockerfile = readFileSync(new URL('../../../Dockerfile', import.meta.url), 'utf8')

/** The last stage: what ends up in the image. */
export const finalStage = dockerfile.slice(dockerfile.lastIndexOf('\nFROM '))

/**
 * The words of an instruction of the last stage. Throws when it is not in exec form: in shell form a shell
 * would be in the way of signals.
 */
export function execForm(instruction: 'ENTRYPOINT' | 'CMD' | 'HEALTHCHECK'): readonly string[] {
  const start = instruction === 'HEALTHCHECK' ? 'HEALTHCHECK .*CMD' : instruction
  const words = new RegExp(`^${start} (\\[.*\\])$`, 'm').exec(finalStage)?.[1]
  if (words === undefined) throw new Error(`The Dockerfile has no ${instruction} in exec form.`)
  return JSON.parse(words) as string[] // the exec form is an array of strings
}
