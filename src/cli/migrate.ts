/** `spillway migrate`: bring the database's schema up to this version. */
import { parseConfig } from '../config.ts'
import { openDatabase } from '../db/database.ts'
import { migrate } from '../db/migrate.ts'
import { type AddCommand, writeJson, writeLine } from './command.ts'
import { explainDatabaseError } from './database-error.ts'

export const addMigrate: AddCommand = (program, { env, stdout }) => {
  program
    .command('migrate')
    .description("bring the database's schema up to this version")
    .option('--json', 'print JSON')
    .action(async ({ json }: { json?: true }) => {
      const database = await openDatabase(parseConfig(env).databaseUrl)
      try {
        const { applied, version } = await migrate(database.url)
        if (json) writeJson(stdout, { applied, version })
        else if (applied.length === 0) writeLine(stdout, `Nothing to do: the schema is at ${version}.`)
        else writeLine(stdout, `Applied ${applied.join(', ')}.`)
      } catch (error) {
        throw explainDatabaseError(error, 'DATABASE_URL', database.url)
      } finally {
        await database.close()
      }
    })
}
