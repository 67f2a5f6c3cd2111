/** `spillway replay`: delivering old events again. */
import type { AddCommand } from '../command.ts'
import { addCancel } from './cancel.ts'
import { addList } from './list.ts'
import { addRequest } from './request.ts'
import { addSkipped } from './skipped.ts'

export const addReplay: AddCommand = (program, context) => {
  const group = program
    .command('replay')
    .description('deliver an old range, skipped ranges or dead letters of a destination again')
  for (const add of [addRequest, addList, addSkipped, addCancel]) add(group, context)
}
