import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { parse, parseAllDocuments } from 'yaml'
import { parseConfig } from '../../../src/config.ts'
import { version } from '../../../src/version.ts'
import { dockerfile, execForm, finalStage } from '../../e2e/container/dockerfile.ts'

/** What a stop may take: the request's own time and 5 s to close everything. */
const stopSeconds = parseConfig({}).requestTimeoutMs / 1_000 + 5
/** The user `node` of the base image. */
const user = 1000

describe('the image', () => {
  test('runs as a user without rights, by number', () => {
    expect(/^USER (.*)$/m.exec(finalStage)?.[1]).toBe(`${user}:${user}`)
  })

  test('makes the daemon the first process, so that it gets the signals', () => {
    expect(execForm('ENTRYPOINT')).toEqual(['node', 'dist/src/main.js'])
    expect(execForm('CMD')).toEqual(['run'])
  })

  test('asks /livez of the daemon for its health, with nothing but Node', () => {
    expect(execForm('HEALTHCHECK')).toEqual(['node', 'dist/src/healthcheck.js'])
    expect(existsSync('src/healthcheck.ts')).toBe(true)
  })

  test('has settings that the daemon takes, with probes from outside and no embedded database', () => {
    const [, block = ''] = /^ENV ((?:.*\\\n)*.*)$/m.exec(finalStage) ?? []
    const env = Object.fromEntries(block.split(/[\s\\]+/).map((pair) => pair.split('=', 2)))
    const config = parseConfig({ ...env, DATABASE_URL: 'postgres://user@host/database' })
    expect(config).toMatchObject({ production: true, httpHost: '0.0.0.0' })
    expect(/^EXPOSE (\d+)$/m.exec(finalStage)?.[1]).toBe(String(config.httpPort))
  })

  test('is built from a context that holds all that is copied and no more', () => {
    const copied = [...dockerfile.matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap(([, sources = '']) =>
      sources.split(' '),
    )
    const lines = readFileSync('.dockerignore', 'utf8').split('\n').filter(Boolean)
    const [, ...rest] = lines.filter((line) => !line.startsWith('#'))
    expect(lines).toContain('*')
    expect(rest.map((line) => line.replace(/^!/, '')).toSorted()).toEqual([...new Set(copied)].toSorted())
    for (const path of copied) expect(existsSync(path), path).toBe(true)
  })
})

describe('compose.yaml', () => {
  const { services, volumes } = parse(readFileSync('compose.yaml', 'utf8'))

  test('has a PostgreSQL, Spillway and a receiver, each with a health check', () => {
    expect(Object.keys(services).toSorted()).toEqual(['echo', 'postgres', 'spillway'])
    for (const service of Object.values<{ healthcheck: { test: string[] } }>(services)) {
      expect(service.healthcheck.test[0]).toBe('CMD')
    }
    expect(services.postgres.image).toBe('postgres:18')
  })

  test('starts Spillway when the others are healthy', () => {
    expect(services.spillway.depends_on).toEqual({
      postgres: { condition: 'service_healthy' },
      echo: { condition: 'service_healthy' },
    })
  })

  test('gives Spillway settings that fit the others, and time to stop', () => {
    const { environment } = services.spillway
    const { POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB } = services.postgres.environment
    const config = parseConfig({ ...environment, NODE_ENV: 'production' })
    expect(config.databaseUrl).toBe(
      `postgres://${POSTGRES_USER}:${POSTGRES_PASSWORD}@postgres:5432/${POSTGRES_DB}`,
    )
    expect(config.egressAllow.hosts).toEqual(['echo'])
    expect(Number.parseInt(services.spillway.stop_grace_period, 10)).toBeGreaterThanOrEqual(stopSeconds)
  })

  test('mounts what there is', () => {
    for (const service of Object.values<{ volumes?: string[] }>(services)) {
      for (const mount of service.volumes ?? []) {
        const [source = ''] = mount.split(':')
        expect(source.startsWith('./') ? existsSync(source) : source in volumes, mount).toBe(true)
      }
    }
  })
})

describe('the Kubernetes examples', () => {
  test('are a sidecar and a deployment of its own', () => {
    expect(readdirSync('docs/kubernetes').toSorted()).toEqual(['deployment.yaml', 'sidecar.yaml'])
  })

  test('have Spillway as a native sidecar that starts before the application and stops after it', () => {
    const { initContainers, containers } = podOf('sidecar')
    expect(initContainers).toHaveLength(1)
    expect(initContainers[0].restartPolicy).toBe('Always')
    expect(containers[0].name).not.toBe('spillway')
  })

  test.each(['sidecar', 'deployment'])('%s: selects its own Pods and leaves time to stop', (name) => {
    const { kind, spec } = documentOf(name)
    expect(kind).toBe('Deployment')
    expect(spec.template.metadata.labels).toMatchObject(spec.selector.matchLabels)
    expect(spec.template.spec.terminationGracePeriodSeconds).toBeGreaterThanOrEqual(stopSeconds)
  })

  test.each(['sidecar', 'deployment'])('%s: runs this version with few rights and bounded memory', (name) => {
    const container = spillwayOf(name)
    expect(container.image).toBe(`spillway:${version}`)
    expect(container.securityContext).toMatchObject({
      runAsNonRoot: true,
      runAsUser: user,
      readOnlyRootFilesystem: true,
      allowPrivilegeEscalation: false,
      capabilities: { drop: ['ALL'] },
    })
    expect(container.resources.limits.memory).toMatch(/^\d+Mi$/)
  })

  test.each(['sidecar', 'deployment'])('%s: is renewed one at a time, and nowhere throttled', (name) => {
    const { spec } = documentOf(name)
    expect(spec.replicas).toBeGreaterThan(1)
    expect(spec.strategy).toEqual({
      type: 'RollingUpdate',
      rollingUpdate: { maxSurge: 1, maxUnavailable: 0 },
    })
    expect(spillwayOf(name).resources.limits).not.toHaveProperty('cpu')
  })

  test.each(['sidecar', 'deployment'])('%s: takes its credentials from a Secret', (name) => {
    const { env } = spillwayOf(name)
    expect(env.map((each) => each.name)).toEqual(['DATABASE_URL'])
    expect(env[0]?.valueFrom.secretKeyRef).toMatchObject({ name: 'spillway', key: 'database-url' })
  })

  test.each(['sidecar', 'deployment'])('%s: probes paths and ports that there are', (name) => {
    const container = spillwayOf(name)
    const ports = container.ports.map((port) => port.name)
    const probes = [container.startupProbe, container.livenessProbe, container.readinessProbe].flatMap(
      (probe) => probe ?? [],
    )
    expect(probes.map(({ httpGet }) => httpGet.path).toSorted()).toEqual(['/livez', '/readyz'])
    for (const { httpGet } of probes) expect(ports).toContain(httpGet.port)
    expect(container.livenessProbe?.httpGet.path).toBe('/livez')
  })
})

interface Probe {
  readonly httpGet: { readonly path: string; readonly port: string }
}

/** As far as the tests look. */
interface Container {
  readonly name: string
  readonly image: string
  readonly restartPolicy?: string
  readonly env: readonly { name: string; valueFrom: { secretKeyRef: object } }[]
  readonly ports: readonly { name: string }[]
  readonly startupProbe?: Probe
  readonly livenessProbe?: Probe
  readonly readinessProbe?: Probe
  readonly resources: { readonly limits: { readonly memory: string } }
  readonly securityContext: object
}

function documentOf(name: string) {
  const documents = parseAllDocuments(readFileSync(`docs/kubernetes/${name}.yaml`, 'utf8'))
  expect(documents.flatMap((document) => ('errors' in document ? document.errors : []))).toEqual([])
  expect(documents).toHaveLength(1)
  return parse(String(documents[0]))
}

function podOf(name: string) {
  return documentOf(name).spec.template.spec
}

function spillwayOf(name: string): Container {
  const { initContainers = [], containers } = podOf(name)
  const found = [...initContainers, ...containers].find((each: Container) => each.name === 'spillway')
  return found as Container // a missing one fails where it is looked at
}
