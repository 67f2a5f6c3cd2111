/** `spillway sources`: which audit tables are read. */
import type { AddCommand } from '../command.ts'
import { addAdd } from './add.ts'
import { addList } from './list.ts'
import { addNotify } from './notify.ts'
import { addRebase } from './rebase.ts'

export const addSources: AddCommand = (program, context) => {
  const group = program.command('sources').description('list audit tables and register your own')
  for (const add of [addList, addAdd, addNotify, addRebase]) add(group, context)
}
