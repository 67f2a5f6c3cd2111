/** Whether ids rise as they are drawn, and name one row each. */
import type { Sql } from '../../../db/client.ts'
import { quoteIdentifier } from '../../../events/columns.ts'
import { comparePositions, laterOf, origin } from '../../../sources/position.ts'
import { readSequences, type Sequence } from '../../../sources/sequences.ts'
import type { Source } from '../../../sources/source.ts'
import { formatCount, formatCountOf, formatDuration } from '../../format.ts'
import { type Finding, fine, problem, type Subject, warning } from '../finding.ts'
import type { FoundSource, Patient } from '../patient.ts'
import { sampled } from '../sample.ts'

export async function checkIds(patient: Patient, { source, subject }: FoundSource): Promise<Finding[]> {
  const found =
    source.definition.ordering === 'id'
      ? [...(await drawn(patient, source, subject)), ...(await inStep(patient, source, subject))]
      : []
  const findings = [...found, ...(await unique(patient, source, subject))]
  if (findings.length > 0) return findings
  return [fine('ids', subject, 'Ids are unique, and rise as they are drawn.')]
}

/** Whether they come from the sequence. */
async function drawn(
  { source: { sql }, sourceSql }: Patient,
  source: Source,
  subject: Subject,
): Promise<Finding[]> {
  const { definition } = source
  const id = quoteIdentifier(definition.idColumn)
  if (source.fence === 'table') {
    return [
      warning(
        'ids.without_sequence',
        subject,
        `No sequence feeds ${id}. Nothing is lost only if each id is made after its transaction has first written to the table, and is above all that are there.`,
        `ALTER TABLE ${definition.relation} ALTER COLUMN ${id} ADD GENERATED ALWAYS AS IDENTITY; after that setval, or use the ordering "xact".`,
      ),
    ]
  }
  const [table] = await sql<{ oid: string; role: string }[]>`
    SELECT to_regclass(${definition.relation})::oid::text AS oid, quote_ident(current_user) AS role`
  const sequences = await readSequences(sourceSql, table?.oid ?? '0', definition.idColumn)
  const unreadable = sequences.filter(({ readable }) => readable !== 't')
  if (unreadable.length > 0) {
    const names = unreadable.map(({ name }) => name).join(', ')
    return [
      warning(
        'sequence.unreadable',
        subject,
        `The role may not ask how far ${names} is: ids that are inserted without it are not noticed, and one that was set back is noticed late.`,
        unreadable.map(({ name }) => `GRANT SELECT ON SEQUENCE ${name} TO ${table?.role};`).join(' '),
      ),
    ]
  }
  return beyond(sql, source, subject, sequences)
}

async function beyond(
  sql: Sql,
  { relation, definition, ordered }: Source,
  subject: Subject,
  sequences: readonly Sequence[],
): Promise<Finding[]> {
  if (!ordered) return []
  const id = quoteIdentifier(definition.idColumn)
  // The statement sees the rows as they were before it asks the sequences, which can only have gone on.
  const values = sequences.map(({ oid }) => `pg_sequence_last_value(${oid})::text`).join(', ')
  const [row] = await sql.unsafe<{ highest: string | null; drawn: (string | null)[] }[]>(
    `SELECT (SELECT max(${id})::text FROM ${relation}) AS highest, to_json(ARRAY[${values}]) AS drawn`,
  )
  const highest = row?.highest ?? null
  const last = (row?.drawn ?? []).reduce<string>((max, each) => laterOf(max, each ?? origin), origin)
  if (highest === null || comparePositions(highest, last) <= 0) return []
  const name = sequences[0]?.name
  return [
    problem(
      'ids.beyond_sequence',
      subject,
      `The highest id is ${highest}, and ${name} has given out no more than ${last}: somebody inserts ids of their own. What the sequence draws up to ${highest} is passed over.`,
      `SELECT setval('${name?.replaceAll("'", "''")}', (SELECT max(${id}) FROM ${definition.relation})); and let every insert leave ${id} to the sequence (GENERATED ALWAYS).`,
    ),
  ]
}

/** Less may be a clock, or a row that was made a little before it was written. */
const leastShare = 0.01

async function inStep(patient: Patient, source: Source, subject: Subject): Promise<Finding[]> {
  const { sampleRows, stepMs } = patient.limits
  const sample = await sampled(patient, source, sampleRows)
  const instants = (sample?.rows ?? []).flatMap(({ at }) => (at === undefined ? [] : [at]))
  let latest = Number.NEGATIVE_INFINITY
  let back = 0
  let worstMs = 0
  for (const at of instants) {
    if (at < latest - stepMs) back += 1
    worstMs = Math.max(worstMs, latest - at)
    latest = Math.max(latest, at)
  }
  if (back === 0 || back < instants.length * leastShare) return []
  return [
    warning(
      'ids.out_of_step',
      subject,
      `Of the last ${formatCountOf(instants.length, 'row')} ${formatCount(back)} (${Math.round((back / instants.length) * 100)} %) are older than a row with a lower id, by up to ${formatDuration(worstMs)}: ids may be drawn long before they are inserted, or reserved in blocks.`,
      'Draw each id in the transaction that inserts it: no block allocation in the ORM (allocationSize = 1), no nextval ahead of time. Harmless where old events are imported.',
    ),
  ]
}

async function unique(patient: Patient, source: Source, subject: Subject): Promise<Finding[]> {
  const { relation, idColumn } = source.definition
  const [index] = await patient.source.sql<{ found: boolean }[]>`
    SELECT EXISTS (
      SELECT FROM pg_index i
      JOIN pg_class c ON c.oid = i.indrelid
      JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attname = ${idColumn}
      WHERE i.indrelid = to_regclass(${relation}) AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
        AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])
        -- Of a partitioned table every unique index holds the partition's key too.
        AND (i.indnkeyatts = 1 OR c.relkind = 'p')
    ) AS found`
  if (index?.found) return []
  const id = quoteIdentifier(idColumn)
  const remedy = `CREATE UNIQUE INDEX CONCURRENTLY ON ${relation} (${id});`
  const sample = await sampled(patient, source, patient.limits.sampleRows * 10)
  const groups = Map.groupBy(sample?.rows ?? [], (row) => row.id)
  const twice = [...groups].find(([, rows]) => rows.length > 1)
  if (!twice) {
    const message = `No unique index on ${id} alone keeps an id from being used twice; among the last rows none is.`
    return [warning('ids.not_unique', subject, message, remedy)]
  }
  return [
    problem(
      'ids.duplicate',
      subject,
      `${formatCountOf(twice[1].length, 'row')} have the ${idColumn} ${twice[0]}: they have one place and one event id, and a page that ends between them loses the others.`,
      `Give them ids of their own, then ${remedy}`,
    ),
  ]
}
