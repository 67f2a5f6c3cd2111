/** Spillway's version. Not read from `package.json`, which lies elsewhere once the sources are built. */
export const version = '0.1.0'
