/** The daemon's version is the package's. */
export { version } from '../version.ts'
