/**
 * A process that kills itself at the moment when a statement of its own is dispatched. Says before whether that was answered.
 * Arguments: the database, and a number of its table `writes`.
 */
import { writeSync } from 'node:fs'
import { connectState } from '../../src/db/client.ts'
import { dispatched } from '../../src/db/dispatched.ts'

const [url = '', number = ''] = process.argv.slice(2)
const sql = connectState(url, { applicationName: 'killed writer', max: 1, oneStatementAtATime: true })
const write = (seconds: number) =>
  sql`UPDATE public.writes SET times = times + 1 FROM pg_sleep(${seconds}::float8) WHERE number = ${number}::int`
// What is run for the first time has to be described by the server before it can be carried out.
await write(0)
const statement = write(0.2)
let isAnswered = false
statement.then(
  () => {
    isAnswered = true
  },
  () => {},
)
await dispatched(statement)
writeSync(1, isAnswered ? 'answered' : 'under way')
process.kill(process.pid, 'SIGKILL')
