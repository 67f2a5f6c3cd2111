/** `spillway destinations`: who gets events. */
import type { AddCommand } from '../command.ts'
import { addAdd } from './add.ts'
import { addDisable, addEnable } from './enabled.ts'
import { addList } from './list.ts'
import { addTest } from './test.ts'

export const addDestinations: AddCommand = (program, context) => {
  const group = program
    .command('destinations')
    .description('list, add and test destinations, switch them on and off')
  for (const add of [addList, addAdd, addTest, addEnable, addDisable]) add(group, context)
}
