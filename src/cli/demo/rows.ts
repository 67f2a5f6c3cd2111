/** Lifelike audit rows. `random` is in [0, 1). */
import { type LogType, orgs } from './plan.ts'

type Random = () => number

export interface NewRow {
  readonly logType: LogType
  readonly org: string
  /** Columns and values of the built-in table of that log type. */
  readonly columns: Readonly<Record<string, string | number | boolean | Date>>
}

const actors = ['alice', 'bob', 'carol', 'deploy-bot', 'dave', 'erin']
const hosts = ['app.example.com', 'api.example.com', 'admin.example.com']
const paths = ['/login', '/invoices', '/invoices/2041', '/users', '/settings/billing', '/export']
const agents = ['Mozilla/5.0 (X11; Linux x86_64)', 'curl/8.9.1', 'okhttp/4.12.0']
const verbs = ['user.invite', 'role.grant', 'invoice.void', 'api_key.create', 'export.start', 'mfa.reset']
const databases = ['db-primary', 'db-reporting', 'bastion-1']

export function pick<T>(random: Random, choices: readonly [T, ...T[]] | readonly T[], fallback: T): T {
  return choices[Math.floor(random() * choices.length)] ?? fallback
}

export function makeRow(random: Random): NewRow {
  const org = pick(random, orgs, 'acme')
  const actor = pick(random, actors, 'alice')
  const who = {
    org_id: org,
    actor_type: actor.endsWith('-bot') ? 'service' : 'user',
    actor,
    actor_id: `${org}:${actor}`,
    ip: `203.0.113.${1 + Math.floor(random() * 250)}`,
    user_agent: pick(random, agents, 'curl/8.9.1'),
  }
  const dice = random()
  if (dice < 0.45) return { logType: 'request', org, columns: { ...who, ...request(random) } }
  if (dice < 0.75) return { logType: 'action', org, columns: { ...who, ...action(random) } }
  if (dice < 0.9) return { logType: 'access', org, columns: { ...who, ...access(random) } }
  return { logType: 'connection', org, columns: { org_id: org, ...connection(random, who) } }
}

function request(random: Random) {
  const allowed = random() < 0.93
  return {
    action: allowed,
    resource_id: `app-${1 + Math.floor(random() * 9)}`,
    location: pick(random, ['DE', 'FR', 'US', 'JP'], 'DE'),
    scheme: 'https',
    tls: true,
    host: pick(random, hosts, 'app.example.com'),
    path: pick(random, paths, '/login'),
    method: pick(random, ['GET', 'GET', 'POST', 'DELETE'], 'GET'),
    status: allowed ? pick(random, [200, 200, 201, 404], 200) : 403,
    duration_ms: 3 + Math.floor(random() * 400),
  }
}

function action(random: Random) {
  return {
    action: pick(random, verbs, 'user.invite'),
    target_type: 'user',
    target_id: `u-${Math.floor(random() * 5_000)}`,
    outcome: random() < 0.95 ? 'success' : 'denied',
    level: pick(random, ['info', 'info', 'notice', 'warning'], 'info'),
  }
}

function access(random: Random) {
  return {
    type: pick(random, ['ssh', 'rdp', 'postgres'], 'ssh'),
    action: random() < 0.9,
    resource_id: pick(random, databases, 'db-primary'),
    location: pick(random, ['DE', 'FR', 'US', 'JP'], 'DE'),
  }
}

function connection(random: Random, { actor_id, ip }: { actor_id: string; ip: string }) {
  const endedAt = new Date()
  return {
    session_id: `s-${Math.floor(random() * 1e9).toString(36)}`,
    resource_id: pick(random, databases, 'db-primary'),
    user_id: actor_id,
    source_addr: ip,
    dest_addr: `10.0.0.${1 + Math.floor(random() * 20)}`,
    protocol: 'tcp',
    started_at: new Date(endedAt.getTime() - Math.floor(random() * 600_000)),
    ended_at: endedAt,
    bytes_tx: Math.floor(random() * 1e7),
    bytes_rx: Math.floor(random() * 1e8),
  }
}
