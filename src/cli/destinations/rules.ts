/** What a destination's row is judged against, so that a command says the same of it as the daemon. */
import { DestinationConfigError } from '../../../providers/provider.ts'
import { destinationTypes } from '../../app.ts'
import type { Config } from '../../config.ts'
import type { Sql } from '../../db/client.ts'
import { sources } from '../../db/schema.ts'
import { typed } from '../../db/typed.ts'
import { deliveryDefaults } from '../../destinations/delivery-settings.ts'
import type { Destination, DestinationRules } from '../../destinations/destination.ts'
import { openVault } from '../../destinations/secrets.ts'
import { CommandError } from '../command.ts'

export async function readRules(sql: Sql, config: Config): Promise<DestinationRules> {
  const rows = await typed(sql).select().from(sources).orderBy(sources.logType)
  return {
    types: new Map(destinationTypes.map((type) => [type.type, type])),
    logTypes: new Map(rows.map(({ logType, orgColumn }) => [logType, { hasOrg: orgColumn !== null }])),
    delivery: deliveryDefaults(config),
    vault: openVault(config),
  }
}

/** A row in the database that is wrong is no wrong use of the command: exit code 1. */
export function judged(parse: () => Destination): Destination {
  try {
    return parse()
  } catch (error) {
    if (!(error instanceof DestinationConfigError)) throw error
    const list = error.fields.map(({ field, problem }) => `  ${field}: ${problem}`).join('\n')
    throw new CommandError(
      `The destination is invalid; the daemon delivers nothing to it:\n${list}`,
      'Mend its row as said above.',
    )
  }
}
