/**
 * `npm run build`: the sources as JavaScript in `dist/`, which runs with production dependencies only.
 * `-- --out FOLDER` writes it elsewhere. The folder is replaced as a whole.
 *
 * The layout is that of the sources (`dist/src`, `dist/providers`, `dist/migrations`), because the code finds
 * the migrations by their place relative to its own.
 */
import { spawnSync } from 'node:child_process'
import { chmod, cp, rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const root = fileURLToPath(new URL('..', import.meta.url))
const { values } = parseArgs({ options: { out: { type: 'string', default: join(root, 'dist') } } })
const out = resolve(values.out)

await rm(out, { recursive: true, force: true })
const compiler = join(root, 'node_modules/typescript/bin/tsc')
const project = join(root, 'tsconfig.build.json')
const { status } = spawnSync(process.execPath, [compiler, '--project', project, '--outDir', out], {
  stdio: 'inherit',
})
if (status === 0) {
  await cp(join(root, 'migrations'), join(out, 'migrations'), { recursive: true })
  await chmod(join(out, 'src/main.js'), 0o755)
} else {
  // What the compiler wrote all the same must not be taken for a build.
  await rm(out, { recursive: true, force: true })
  process.exitCode = 1
}
