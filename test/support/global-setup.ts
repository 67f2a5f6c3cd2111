/**
 * One embedded server for a whole test run, with a migrated template database that each test file clones.
 * Its directory carries the run's pid and the server's major version, so neither several runs on one machine
 * nor two versions meet; what a killed run has left behind is removed by the next one.
 *
 * Each project of the run calls this; the later ones find the server running and the template made.
 */
import { mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import postgres from 'postgres'
import type { TestProject } from 'vitest/node'
import { removeEmbedded, startEmbedded } from '../../src/db/embedded/server.ts'
import { migrate } from '../../src/db/migrate.ts'
import { testBinaries } from './binaries.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** URL of the run's server, without a database. */
    postgresUrl: string
  }
}

export const templateDatabase = 'spillway_template'
/** `.spillway/` of the checkout: ignored by git. */
export const testRoot = fileURLToPath(new URL('../../.spillway', import.meta.url))

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  await mkdir(testRoot, { recursive: true })
  await removeLeftovers()
  const binaries = await testBinaries()
  const directory = join(testRoot, `test-${process.pid}-postgres-${binaries.major}`)
  const server = await startEmbedded({ directory, durable: false, binaries })
  try {
    await makeTemplate(server.url('postgres'), server.url(templateDatabase))
  } catch (error) {
    await server.stop('immediate')
    throw error
  }
  project.provide('postgresUrl', server.url(''))
  return async () => {
    if (await server.stop('immediate')) await removeTestDirectory(directory)
  }
}

/** Removes a test server's directory, wherever its data really is. */
export async function removeTestDirectory(directory: string): Promise<void> {
  if (await removeEmbedded(directory)) await rm(directory, { recursive: true, force: true })
}

async function makeTemplate(adminUrl: string, templateUrl: string): Promise<void> {
  const admin = postgres(adminUrl, { max: 1, onnotice: () => {} })
  try {
    // Projects are set up one after the other today; the lock is for the day when they are not.
    await admin`select pg_advisory_lock(1)`
    const made = await admin`select 1 from pg_database where datname = ${templateDatabase}`
    if (made.length > 0) return
    await admin`create database ${admin(templateDatabase)}`
    await migrate(templateUrl)
    // A stray connection to a template would make every clone fail.
    await admin`alter database ${admin(templateDatabase)} with is_template true allow_connections false`
  } finally {
    await admin.end()
  }
}

async function removeLeftovers(): Promise<void> {
  const names = await readdir(testRoot)
  const ours = names.filter((name) => /^(test|cluster)-\d+/.test(name))
  for (const name of ours) {
    const pid = Number(/\d+/.exec(name)?.[0])
    if (isAlive(pid)) continue
    await removeTestDirectory(join(testRoot, name))
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}
