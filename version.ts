/**
 * Spillway's version, for the daemon and for what its providers call themselves: those may not import each
 * other. Not read from `package.json`, which lies elsewhere once the sources are built; a test holds the two
 * together.
 */
export const version = '0.1.0'
