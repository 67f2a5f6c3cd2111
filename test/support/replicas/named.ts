/**
 * Given to a daemon's process by `--import`: each of its requests says by which process it was made. undici tells of
 * every request before it is sent; the program itself knows nothing of it.
 */
import { subscribe } from 'node:diagnostics_channel'

interface Created {
  readonly request: { addHeader(name: string, value: string): void }
}

subscribe('undici:request:create', (message) => {
  const { request } = message as Created // undici's, see its page on diagnostics channels
  request.addHeader('made-by', String(process.pid))
})
