/** `spillway secret`: secrets of destinations, encrypted at rest. */
import type { AddCommand } from '../command.ts'
import { addEncrypt } from './encrypt.ts'
import { addRotate } from './rotate.ts'

export const addSecret: AddCommand = (program, context) => {
  const group = program.command('secret').description("encrypt destinations' secrets and change the key")
  for (const add of [addEncrypt, addRotate]) add(group, context)
}
