/** The indexes that reading needs, judged by the plan: for the table's order, and for one org's rows in it. */
import { formatCount } from '../../format.ts'
import { type Finding, fine, problem, warning } from '../finding.ts'
import type { FoundSource, Patient } from '../patient.ts'
import { explain, isInOrder, PageStatements, readsOnlyWanted } from '../plan.ts'

/** Where the table has no row of any. */
const someOrg = 'spillway-doctor'
const someUuid = '00000000-0000-4000-8000-000000000000'

export async function checkIndexes(
  { source: { sql }, limits }: Patient,
  { source, subject }: FoundSource,
): Promise<Finding[]> {
  const [table] = await sql<{ rows: number; kind: string; unknown: boolean }[]>`
    SELECT greatest((SELECT sum(greatest(c.reltuples, 0)) FROM pg_class c
                     WHERE c.oid = r.oid OR c.oid IN (SELECT relid FROM pg_partition_tree(r.oid) WHERE isleaf)), 0)::float8 AS rows,
           (SELECT relkind FROM pg_class WHERE oid = r.oid) AS kind,
           (SELECT reltuples < 0 FROM pg_class WHERE oid = r.oid) AS unknown
    FROM (SELECT to_regclass(${source.definition.relation}) AS oid) r`
  const rows = table?.rows ?? 0
  const say = rows >= limits.largeRows ? problem : warning
  const size =
    table?.unknown && rows === 0
      ? 'Nothing is known of its size yet.'
      : `It has about ${formatCount(Math.round(rows))} rows.`
  const statements = new PageStatements(source)
  const create = (keys: string) =>
    table?.kind === 'p'
      ? `CREATE INDEX ON ${source.definition.relation} (${keys}); (writers wait meanwhile; CREATE INDEX … ON ONLY and then partition by partition avoids it)`
      : `CREATE INDEX CONCURRENTLY ON ${source.definition.relation} (${keys});`
  const loose = source.definition.ordering === 'xact' ? 1 : 0
  const findings: Finding[] = []
  if (!isInOrder(await explain(sql, statements.ofAll), loose)) {
    const keys = statements.indexKeys()
    findings.push(
      say(
        'index.order',
        subject,
        `No index has the rows in the order of (${keys}): every look reads the whole table. ${size}`,
        create(keys),
      ),
    )
  }
  const { tenant } = statements
  if (tenant) {
    const org = (await lastOrg(sql, source.relation, tenant.expression)) ?? madeUp(tenant)
    const page = await explain(sql, statements.ofOrg(tenant, org))
    // An org with most of the rows is rightly read by another index; so one is asked for the order itself.
    const served =
      (isInOrder(page, loose) && readsOnlyWanted(page)) ||
      isInOrder(await explain(sql, statements.byOrg(tenant)), loose)
    if (!served) {
      const keys = statements.indexKeys(tenant)
      findings.push(
        say(
          'index.org',
          subject,
          `No index serves one org's rows in order, so each org's destination reads everybody's rows. ${size}`,
          create(keys),
        ),
      )
    }
  }
  const has = [undefined, ...(tenant ? [tenant] : [])]
    .map((each) => `(${statements.indexKeys(each)})`)
    .join(' and ')
  return findings.length > 0 ? findings : [fine('index', subject, `Indexes serve ${has}.`)]
}

async function lastOrg(
  sql: Patient['source']['sql'],
  relation: string,
  org: string,
): Promise<string | undefined> {
  // Any row will do: whichever the table gives first.
  const [row] = await sql.unsafe<{ org: string | null }[]>(
    `SELECT o.org FROM (SELECT ${org}::text AS org FROM ${relation} t LIMIT 100) o WHERE o.org IS NOT NULL LIMIT 1`,
  )
  return row?.org ?? undefined
}

function madeUp({ type }: { readonly type: string }): string {
  return type === 'uuid' ? someUuid : type === 'bigint' ? '1' : someOrg
}
