/**
 * The errors that cross a module's boundary. Each has a stable `code`, and a `hint` that says what to do.
 * What a caller must expect is a value (`Outcome`), not one of these. They are logged once, where they are
 * handled; nothing logs and rethrows.
 */
import type { FieldProblem } from '../providers/provider.ts'

/** The environment or a command's arguments cannot be used: all fields are listed. Exit code 2. */
export class ConfigError extends Error {
  readonly code = 'CONFIG'
  readonly hint = 'Mend the fields named above and start again.'
  readonly fields: readonly FieldProblem[]

  constructor(fields: readonly FieldProblem[]) {
    super(`Bad configuration:\n${fields.map(({ field, problem }) => `  ${field}: ${problem}`).join('\n')}`)
    this.name = 'ConfigError'
    this.fields = fields
  }
}

/** A source (an audit table) cannot be read as it is registered. The other sources run on. */
export class SourceError extends Error {
  readonly code = 'SOURCE'
  readonly hint: string

  constructor(message: string, hint: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'SourceError'
    this.hint = hint
  }
}

/** A source went back in time: rows may be passed over until its cursors are set anew. */
export class SourceRewoundError extends SourceError {
  constructor(logType: string, figures: string) {
    super(
      `source ${logType} went back in time: ${figures}`,
      `Rows may have come at positions that were read already. Run \`spillway sources rebase ${logType}\`; ` +
        'with --dry-run it says what it would do.',
    )
    this.name = 'SourceRewoundError'
  }
}

/** A write found that somebody else moved the cursor, or that it is gone: stop that work, write nothing. */
export class LeaseLostError extends Error {
  readonly code = 'LEASE_LOST'
  readonly hint = 'Nothing to do: another daemon or an edit of the destination took over.'

  constructor(message: string) {
    super(message)
    this.name = 'LeaseLostError'
  }
}

/** The database was migrated by a newer Spillway. */
export class SchemaVersionError extends Error {
  readonly code = 'SCHEMA_VERSION'
  readonly hint = 'Start the newer version again, or restore a backup taken before its migrations.'

  constructor(message: string) {
    super(message)
    this.name = 'SchemaVersionError'
  }
}

/** The server of the state database is older than any that Spillway works with. */
export class ServerVersionError extends Error {
  readonly code = 'SERVER_VERSION'
  readonly hint: string

  constructor(message: string, hint: string) {
    super(message)
    this.name = 'ServerVersionError'
    this.hint = hint
  }
}
