/**
 * A bound on what a connection takes in for one request, whatever it is made of (I9). The body and the
 * headers have bounds of their own; this one is for what nobody counts: 1xx answers, chunk extensions and
 * trailers without end would else keep a core busy until the request's time is over.
 */
import type { Socket } from 'node:net'
import { HttpFailure } from '../../providers/provider.ts'

/** Far beyond the 16 KiB of headers and 64 KiB of body that are read, with all that the buffers may hold. */
const maxAnswerBytes = 524_288

/** Destroys the socket when more comes in than an answer may have, counted since something was last written. */
export function meter(socket: Socket): Socket {
  let written = socket.bytesWritten
  let mark = socket.bytesRead
  socket.on('readable', () => {
    if (socket.bytesWritten !== written) {
      written = socket.bytesWritten
      mark = socket.bytesRead
    } else if (socket.bytesRead - mark > maxAnswerBytes) {
      socket.destroy(new HttpFailure('network', 'The answer did not come to an end.'))
    }
  })
  return socket
}
