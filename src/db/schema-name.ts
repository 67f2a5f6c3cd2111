/** Everything of Spillway's own lives in this schema of the database. */
export const schemaName = 'spillway'
