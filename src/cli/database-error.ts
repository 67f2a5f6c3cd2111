/** Errors of a connection in one clear line with a hint, without the URL's password (I8). */
import { errorCode } from '../db/availability.ts'
import { CommandError } from './command.ts'

type Variable = 'DATABASE_URL' | 'SPILLWAY_SOURCE_DATABASE_URL'

/** What somebody has to do, by SQLSTATE (PostgreSQL, Appendix A) or by the code of driver or system. */
const hints: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'Nobody listens there. Is the server running, and are host and port right?',
  ENOTFOUND: 'The host name is not known. Is it spelled right?',
  EAI_AGAIN: 'The host name could not be looked up. Is the network there?',
  ECONNRESET: 'The server broke the connection off. Look into its log.',
  EHOSTUNREACH: 'No way leads to that host from here.',
  ENETUNREACH: 'No way leads to that host from here.',
  ETIMEDOUT: 'Nobody answered. Is a firewall in between?',
  CONNECT_TIMEOUT: 'Nobody answered. Is a firewall in between?',
  CONNECTION_CLOSED: 'The server broke the connection off. Look into its log.',
  '28P01': 'The password or the user is wrong.',
  '28000': 'The server does not let this user in (pg_hba.conf, or the role may not log in).',
  '3D000': 'The database does not exist. Create it first: CREATE DATABASE ….',
  '42501': 'The role of the URL lacks a privilege; grant it.',
  '53300': 'The server has no connection left.',
  '57P03': 'The server is starting up or shutting down. Try again in a moment.',
}

/** A `CommandError` that says what it means where the code is known; the error itself otherwise. */
export function explainDatabaseError(error: unknown, variable: Variable, url: string): unknown {
  const code = errorCode(error)
  const hint = code === undefined ? undefined : hints[code]
  if (hint === undefined) return error
  const what = code === '42501' ? 'refuses something' : 'cannot be used'
  return new CommandError(
    `PostgreSQL at ${placeOf(url)} ${what}: ${sayingOf(error)}`,
    `${hint} The address is from ${variable}.`,
    { cause: error },
  )
}

/** Host, port and database: what people recognise, and nothing secret. */
function placeOf(url: string): string {
  const parsed = URL.parse(url)
  // Several hosts, or a socket: the driver reads more forms than URLs have.
  if (parsed === null || parsed.hostname === '') return 'the given address'
  const port = parsed.port === '' ? '5432' : parsed.port
  return `${parsed.hostname}:${port}${parsed.pathname}`
}

function sayingOf(error: unknown): string {
  // A host with several addresses fails with one error for each, and none of its own.
  const [first] = error instanceof AggregateError ? error.errors : []
  const text = first instanceof Error ? first.message : error instanceof Error ? error.message : ''
  return text === '' ? String(errorCode(error)) : text
}
