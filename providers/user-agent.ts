/**
 * What every provider calls itself. The version is written here and not read from `package.json`, because
 * that file lies elsewhere once the sources are built; a unit test holds the two together.
 */
export const userAgent = 'Spillway/0.1.0'
