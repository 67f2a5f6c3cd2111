/** Everything that people write wrongly into a config, with the secret still in it. */
import { isObject } from '../../../providers/fields.ts'
import type { Config } from './configs.ts'

export interface Breakage {
  readonly what: string
  readonly config: unknown
}

/** For each field of a config, whatever can stand there instead; `mark` is a credential in the wrong place. */
export function breakages(config: Config, mark: string): Breakage[] {
  const found: Breakage[] = [
    { what: 'an unknown field', config: { ...config, tokne: mark } },
    { what: 'a text', config: mark },
    { what: 'a list', config: [mark] },
  ]
  for (const { at, value } of leaves(config)) {
    const own = typeof value === 'string' ? value : String(value)
    const wrong: readonly unknown[] = [
      ...[null, 7, true, '', mark, [mark], { x: mark }, { $secret: mark }, { $secret: [mark] }],
      ...[{ $secret: 'MISSING', x: mark }, `enc:v1:k:${mark}`, `enc:v2:k:${mark}`],
      ...[`https://user:${mark}@host.example/`, `ftp://host.example/${mark}`],
      ...[
        `${own}\n`,
        ` ${own}`,
        `${own}ü`,
        own.slice(1),
        `${own}:${mark}`,
        own.repeat(200),
        { $secret: own },
      ],
    ]
    for (const each of wrong) {
      found.push({ what: `${at.join('.')} as ${kind(each)}`, config: replaced(config, at, each) })
    }
    found.push({
      what: `a field beside ${at.join('.')}`,
      config: replaced(config, [...at.slice(0, -1), 'tokne'], own),
    })
  }
  return found
}

type Path = readonly (string | number)[]

function leaves(value: unknown, at: Path = []): { readonly at: Path; readonly value: unknown }[] {
  if (Array.isArray(value)) return value.flatMap((each, index) => leaves(each, [...at, index]))
  if (isObject(value)) return Object.entries(value).flatMap(([name, each]) => leaves(each, [...at, name]))
  return [{ at, value }]
}

export function replaced(value: unknown, [step, ...rest]: Path, by: unknown): unknown {
  if (step === undefined) return by
  if (Array.isArray(value))
    return value.map((each, index) => (index === step ? replaced(each, rest, by) : each))
  if (!isObject(value)) return value
  return { ...value, [step]: replaced(value[step], rest, by) }
}

/** No test's name shows a value either. */
function kind(value: unknown): string {
  return isObject(value)
    ? `{${Object.keys(value).join(', ')}}`
    : Array.isArray(value)
      ? 'a list'
      : typeof value
}
