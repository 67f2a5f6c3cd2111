import { describe, expect, test } from 'vitest'
import { CommandError } from '../../../src/cli/command.ts'
import { explainDatabaseError } from '../../../src/cli/database-error.ts'

const url = 'postgres://user:hunter2@db.example.com:6432/audit?sslmode=require'
const withCode = (message: string, code: string) => Object.assign(new Error(message), { code })

describe('errors of the database', () => {
  test('say where, what and what to do, without the password', () => {
    const error = explainDatabaseError(withCode('connect refused', 'ECONNREFUSED'), 'DATABASE_URL', url)
    expect(error).toBeInstanceOf(CommandError)
    expect(error).toMatchObject({
      message: 'PostgreSQL at db.example.com:6432/audit cannot be used: connect refused',
      hint: expect.stringContaining('DATABASE_URL'),
    })
    expect(JSON.stringify(error)).not.toContain('hunter2')
  })

  test('take the words of the first address where a host has several', () => {
    const errors = [
      new Error('connect ECONNREFUSED ::1:5432'),
      new Error('connect ECONNREFUSED 127.0.0.1:5432'),
    ]
    const error = Object.assign(new AggregateError(errors), { code: 'ECONNREFUSED' })
    expect(explainDatabaseError(error, 'DATABASE_URL', url)).toMatchObject({
      message: expect.stringContaining('ECONNREFUSED ::1:5432'),
    })
  })

  test('name no place where the address has a form of its own', () => {
    const several = 'postgres://user:hunter2@one:5432,two:5432/audit'
    expect(explainDatabaseError(withCode('x', '28P01'), 'DATABASE_URL', several)).toMatchObject({
      message: 'PostgreSQL at the given address cannot be used: x',
    })
  })

  test('that mean nothing special stay as they are', () => {
    const error = withCode('duplicate key', '23505')
    expect(explainDatabaseError(error, 'DATABASE_URL', url)).toBe(error)
    const plain = new Error('plain')
    expect(explainDatabaseError(plain, 'DATABASE_URL', url)).toBe(plain)
  })
})
