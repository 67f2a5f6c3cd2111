/**
 * The environment, parsed once at the start into a frozen `Config`. Everything that is wrong with it is said
 * in one `ConfigError`; no message repeats a value that may hold a credential (I8).
 */
import { isIP } from 'node:net'
import type { FieldProblem } from '../providers/provider.ts'
import type { SecretKey } from './destinations/sealing.ts'
import { secretVariables } from './destinations/secrets.ts'
import { ConfigError } from './errors.ts'
import { parseTracing, type TracingConfig } from './telemetry/tracing-config.ts'

export interface Config {
  readonly production: boolean
  /** Undefined: the embedded PostgreSQL is to be started. */
  readonly databaseUrl: string | undefined
  /** Where the audit tables are. Undefined: in the same database. */
  readonly sourceDatabaseUrl: string | undefined
  readonly pollIntervalMs: number
  readonly batchSize: number
  readonly maxCatchupBatches: number
  readonly interBatchDelayMs: number
  /** Never empty; the last one repeats. */
  readonly backoffScheduleMs: readonly number[]
  readonly maxBacklogAgeMs: number
  readonly requestTimeoutMs: number
  readonly egressAllow: EgressAllow
  /** Undefined: destinations are reached directly. */
  readonly egressProxy: EgressProxy | undefined
  /** The first one encrypts; all of them decrypt. */
  readonly secretKeys: readonly SecretKey[]
  /** `SPILLWAY_SECRET_<NAME>` by `<NAME>`: what configs of destinations may refer to. As written, untrimmed. */
  readonly secretVariables: ReadonlyMap<string, string>
  readonly httpHost: string
  /** 0 lets the system choose. */
  readonly httpPort: number
  readonly apiToken: string | undefined
  readonly ticketSecret: string | undefined
  readonly leaseMs: number
  /** Undefined: no spans. */
  readonly tracing: TracingConfig | undefined
  readonly logLevel: LogLevel
  /** `/metrics` has series for each destination. */
  readonly metricsPerDestination: boolean
}

/** What may be reached besides public addresses. */
interface EgressAllow {
  /** In order of appearance, e.g. `10.0.0.0/8`, `fd00::/8`; a single address has its full prefix. */
  readonly cidrs: readonly Cidr[]
  /** Lower-case host names, matched as a whole. */
  readonly hosts: readonly string[]
}

/** What all connections to destinations go through, by CONNECT. */
interface EgressProxy {
  readonly secure: boolean
  /** IPv6 without brackets. */
  readonly host: string
  readonly port: number
  /** The value of `Proxy-Authorization`, where the URL has credentials. */
  readonly authorization?: string
}

interface Cidr {
  readonly address: string
  readonly prefix: number
  readonly family: 'ipv4' | 'ipv6'
}

const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const
export type LogLevel = (typeof logLevels)[number]

/** Timers of Node and intervals of PostgreSQL both end here: 2^31 - 1 ms, 24 days. */
const MAX_MS = 2_147_483_647
const MINUTE = 60_000
const DEFAULT_BACKOFF_MS: readonly number[] = [1, 2, 5, 10, 30].map((minutes) => minutes * MINUTE)

/** Names that others give: secrets that destinations refer to, and what the tests pass on to themselves. */
const freePrefixes = ['SPILLWAY_SECRET_', 'SPILLWAY_TEST_']

/** Throws `ConfigError`. An empty value counts as none, because that is how compose files unset one. */
export function parseConfig(env: NodeJS.ProcessEnv): Config {
  const problems: FieldProblem[] = []
  const known = new Set<string>()
  const text = (name: string): string | undefined => {
    known.add(name)
    return env[name]?.trim() || undefined
  }
  const parsed = <T>(name: string, fallback: T, parse: (raw: string) => Parsed<T>): T => {
    const raw = text(name)
    if (raw === undefined) return fallback
    const result = parse(raw)
    if ('value' in result) return result.value
    problems.push({ field: name, problem: result.problem })
    return fallback
  }
  const integer = (name: string, fallback: number, min: number, max: number): number =>
    parsed(name, fallback, (raw) => parseInteger(raw, min, max))

  const production = text('NODE_ENV') === 'production'
  const config: Config = {
    production,
    databaseUrl: parsed<string | undefined>('DATABASE_URL', undefined, parseDatabaseUrl),
    sourceDatabaseUrl: parsed<string | undefined>(
      'SPILLWAY_SOURCE_DATABASE_URL',
      undefined,
      parseDatabaseUrl,
    ),
    // Below 10 ms a poll is a busy loop; above an hour a daemon looks dead.
    pollIntervalMs: integer('SPILLWAY_POLL_INTERVAL_MS', 1_000, 10, 60 * MINUTE),
    batchSize: integer('SPILLWAY_BATCH_SIZE', 250, 1, 10_000),
    maxCatchupBatches: integer('SPILLWAY_MAX_CATCHUP_BATCHES', 20, 1, 100_000),
    interBatchDelayMs: integer('SPILLWAY_INTER_BATCH_DELAY_MS', 100, 0, 60 * MINUTE),
    backoffScheduleMs: parsed('SPILLWAY_BACKOFF_SCHEDULE_MS', DEFAULT_BACKOFF_MS, parseSchedule),
    maxBacklogAgeMs: integer('SPILLWAY_MAX_BACKLOG_AGE_MS', 24 * 60 * MINUTE, 1, 365 * 24 * 60 * MINUTE),
    requestTimeoutMs: integer('SPILLWAY_REQUEST_TIMEOUT_MS', 30_000, 1, 60 * MINUTE),
    egressAllow: parsed('SPILLWAY_EGRESS_ALLOW', { cidrs: [], hosts: [] }, parseEgress),
    egressProxy: parsed<EgressProxy | undefined>('SPILLWAY_EGRESS_PROXY', undefined, parseProxy),
    secretKeys: parsed<readonly SecretKey[]>('SPILLWAY_SECRET_KEYS', [], parseSecretKeys),
    secretVariables: secretVariables(env),
    httpHost: parsed('SPILLWAY_HTTP_HOST', '127.0.0.1', parseHost),
    httpPort: integer('SPILLWAY_HTTP_PORT', 8787, 0, 65_535),
    apiToken: text('SPILLWAY_API_TOKEN'),
    ticketSecret: text('SPILLWAY_TICKET_SECRET'),
    // A lease shorter than a second ends in any pause of the garbage collector.
    leaseMs: integer('SPILLWAY_LEASE_MS', 15_000, 1_000, 10 * MINUTE),
    tracing: parseTracing(text, (field, problem) => problems.push({ field, problem })),
    logLevel: parsed<LogLevel>('LOG_LEVEL', 'info', parseLevel),
    metricsPerDestination: parsed('SPILLWAY_METRICS_PER_DESTINATION', false, parseFlag),
  }
  if (production && text('DATABASE_URL') === undefined) {
    const problem =
      'is required when NODE_ENV is production; write postgres://user:password@host:5432/database'
    problems.push({ field: 'DATABASE_URL', problem })
  }
  problems.push(...unknownNames(env, known))
  if (problems.length > 0) throw new ConfigError(problems)
  return deepFreeze(config)
}

type Parsed<T> = { readonly value: T } | { readonly problem: string }

function parseInteger(raw: string, min: number, max: number): Parsed<number> {
  const value = Number(raw)
  // Digits only: Number() would also take '1e3', '0x10' and '1.0', which are mistakes here.
  if (/^\d+$/.test(raw) && value >= min && value <= max) return { value }
  return { problem: `must be a whole number from ${min} to ${max}, in digits` }
}

function parseSchedule(raw: string): Parsed<readonly number[]> {
  const parts = list(raw).map((item) => parseInteger(item, 1, MAX_MS))
  const wrong = parts.find((part) => 'problem' in part)
  if (wrong) return { problem: `must be a comma list such as 60000,120000, where each ${wrong.problem}` }
  return { value: parts.flatMap((part) => ('value' in part ? [part.value] : [])) }
}

/** The URL itself is never repeated: it holds a password. */
function parseDatabaseUrl(raw: string): Parsed<string> {
  const form = 'write postgres://user:password@host:5432/database'
  if (!/^postgres(ql)?:\/\//.test(raw))
    return { problem: `must start with postgres:// or postgresql://; ${form}` }
  // Several hosts, for failover, are PostgreSQL's own extension of URLs.
  if (URL.canParse(raw.replace(/,[^@/?#]*(?=[/?#]|$)/, ''))) return { value: raw }
  return { problem: `is not a URL; ${form}, with special characters of the password percent-encoded` }
}

function parseEgress(raw: string): Parsed<EgressAllow> {
  const cidrs: Cidr[] = []
  const hosts: string[] = []
  for (const item of list(raw)) {
    const cidr = parseCidr(item)
    if (cidr) cidrs.push(cidr)
    else if (isHostName(item)) hosts.push(item.toLowerCase())
    else {
      return {
        problem: `has the item '${clip(item)}', which is neither a CIDR such as 10.0.0.0/8 nor a host name`,
      }
    }
  }
  return { value: { cidrs, hosts } }
}

/** The URL itself is never repeated: it may hold a password. */
function parseProxy(raw: string): Parsed<EgressProxy | undefined> {
  const form = 'write http://proxy:3128 or https://user:password@proxy:3128'
  const url = URL.canParse(raw) ? new URL(raw) : undefined
  if (url === undefined) {
    return { problem: `is not a URL; ${form}, with special characters of the password percent-encoded` }
  }
  if (!/^https?:$/.test(url.protocol)) return { problem: `must start with http:// or https://; ${form}` }
  if (url.pathname !== '/' || url.search !== '' || url.hash !== '') {
    return { problem: `must end after the port; ${form}` }
  }
  const credentials = decoded(`${url.username}:${url.password}`)
  if (credentials === undefined || /[\r\n\0]/.test(credentials)) {
    return { problem: `has a user name or password that is not properly percent-encoded; ${form}` }
  }
  const secure = url.protocol === 'https:'
  const value = {
    secure,
    host: url.hostname.replace(/^\[(.*)\]$/, '$1'),
    port: Number(url.port) || (secure ? 443 : 80),
    ...(credentials !== ':' && { authorization: `Basic ${Buffer.from(credentials).toString('base64')}` }),
  }
  return { value }
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}

function parseCidr(item: string): Cidr | undefined {
  const [address = '', prefix, ...rest] = item.split('/')
  const version = isIP(address)
  // A zone (fe80::1%eth0) names an interface of this machine, which no range can.
  if (version === 0 || rest.length > 0 || address.includes('%')) return undefined
  const bits = version === 4 ? 32 : 128
  if (prefix === undefined) return { address, prefix: bits, family: version === 4 ? 'ipv4' : 'ipv6' }
  if (!/^\d{1,3}$/.test(prefix) || Number(prefix) > bits) return undefined
  return { address, prefix: Number(prefix), family: version === 4 ? 'ipv4' : 'ipv6' }
}

/** RFC 1123, with the underscore that container names have; all-digit last labels are mistyped addresses. */
function isHostName(item: string): boolean {
  const labels = item.split('.')
  const isLabel = (label: string) => /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/i.test(label)
  return item.length <= 253 && labels.every(isLabel) && !/^\d+$/.test(labels.at(-1) ?? '')
}

function parseSecretKeys(raw: string): Parsed<readonly SecretKey[]> {
  const value: SecretKey[] = []
  for (const [index, item] of list(raw).entries()) {
    const [, id, encoded] = /^([A-Za-z0-9_-]{1,32}):([A-Za-z0-9+/_-]+={0,2})$/.exec(item) ?? []
    const key = Buffer.from(encoded ?? '', 'base64')
    // Only the place is named: what was meant as an id may be a key.
    if (id === undefined || key.length !== 32) {
      return {
        problem: `key ${index + 1} must be id:key, the key 32 bytes in base64 (openssl rand -base64 32)`,
      }
    }
    if (value.some((other) => other.id === id))
      return { problem: `key ${index + 1} has the id of an earlier one` }
    value.push({ id, key: new Uint8Array(key) })
  }
  return { value }
}

function parseHost(raw: string): Parsed<string> {
  if (isIP(raw) !== 0 || isHostName(raw)) return { value: raw }
  return { problem: 'must be an address to listen on, such as 127.0.0.1, 0.0.0.0 or ::, without a port' }
}

function parseLevel(raw: string): Parsed<LogLevel> {
  const value = logLevels.find((level) => level === raw.toLowerCase())
  return value === undefined ? { problem: `must be one of ${logLevels.join(', ')}` } : { value }
}

function parseFlag(raw: string): Parsed<boolean> {
  const value = raw.toLowerCase()
  return value === 'true' || value === 'false'
    ? { value: value === 'true' }
    : { problem: 'must be true or false' }
}

/** A mistyped name would be a setting that silently does nothing. */
function unknownNames(env: NodeJS.ProcessEnv, known: ReadonlySet<string>): FieldProblem[] {
  const problems: FieldProblem[] = []
  for (const field of Object.keys(env)) {
    if (!field.startsWith('SPILLWAY_') || env[field] === undefined || known.has(field)) continue
    const near = [...known]
      .map((name) => ({ name, distance: editDistance(field, name) }))
      .sort((a, b) => a.distance - b.distance)[0]
    const isFree = freePrefixes.some((prefix) => field.startsWith(prefix))
    // SPILLWAY_SECRET_KEY is rather a mistyped SPILLWAY_SECRET_KEYS than a secret of the name KEY.
    if (isFree && near?.distance !== 1) continue
    const advice = near && near.distance <= 4 ? `did you mean ${near.name}?` : 'remove it'
    problems.push({ field: clip(field), problem: `is not a setting of Spillway; ${advice}` })
  }
  return problems
}

/** Levenshtein. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (const [i, from] of [...a].entries()) {
    const next = [i + 1]
    for (const [j, to] of [...b].entries()) {
      const change = (row[j] ?? 0) + (from === to ? 0 : 1)
      next.push(Math.min(change, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1))
    }
    row = next
  }
  return row.at(-1) ?? 0
}

const list = (raw: string): string[] => raw.split(',').map((item) => item.trim())
const clip = (value: string): string => (value.length > 60 ? `${value.slice(0, 60)}…` : value)

function deepFreeze<T>(value: T): T {
  // A view of bytes cannot be frozen.
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return value
  for (const inner of Object.values(value)) deepFreeze(inner)
  return Object.freeze(value)
}
