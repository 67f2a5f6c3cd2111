/**
 * Has a socket read a little at a time. undici parses all that has come in one go, and makes an error for each header
 * beyond its limit: 64 KiB of the shortest headers would hold everybody up for 150 ms (I6). Between two sips it sees that
 * the connection is closed.
 */
import type { Socket } from 'node:net'

/** Most answers are smaller. */
export const sipBytes = 4_096

export function inSips(socket: Socket): Socket {
  const read = socket.read.bind(socket)
  socket.read = (size) => {
    if (socket.destroyed) return null
    return read(size ?? (socket.readableLength > sipBytes ? sipBytes : undefined))
  }
  return socket
}
