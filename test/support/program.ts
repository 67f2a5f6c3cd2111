/** For the tests that run the program in a process of its own. */

/**
 * Half of the processor's time of a start is the compilation of the sources, which are the same each time. A
 * process that ends by itself leaves it here for the next one; vitest.config.ts says where.
 */
export const programEnv = {
  PATH: process.env.PATH,
  NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE,
}
