/**
 * How many shards a replica should hold: all about the same, and as few moves as possible when replicas come and go.
 * Every replica works this out for itself from the same rows. Pure.
 */

export const shardCount = 64

export interface Holding {
  readonly replica: string
  readonly shards: number
}

/**
 * Of what cannot be divided evenly, one more goes to each of those that hold so many already; while shards are on the
 * move, the same ones at every look. `holdings` are those of all live replicas, `replica`'s own among them.
 */
export function fairShare(replica: string, holdings: readonly Holding[]): number {
  const least = Math.floor(shardCount / holdings.length)
  const remainder = shardCount % holdings.length
  const counted = ({ shards }: Holding) => Math.min(shards, least + 1)
  const rank = holdings
    .toSorted((a, b) => counted(b) - counted(a) || (a.replica < b.replica ? -1 : 1))
    .findIndex((holding) => holding.replica === replica)
  return rank < remainder ? least + 1 : least
}
