/**
 * What the benchmarks play on: a PostgreSQL, a receiver, and databases with rows. Closing it ends and removes
 * all of it.
 */
import { type Receiver, startReceiver } from './receiver.ts'
import { openScene, type Scene, type SceneOptions } from './scene.ts'
import { startServer } from './server.ts'

export interface Stage extends AsyncDisposable {
  readonly postgresVersion: string
  /** One for all benchmarks, in a process of its own. */
  receiver(): Promise<Receiver>
  /** The rows that several benchmarks drain; they leave them as they are. */
  backlog(): Promise<Scene>
  /** A database of one's own, to be disposed of. */
  scene(options: Omit<SceneOptions, 'profiles'>): Promise<Scene>
  /** Processor time that all processes of PostgreSQL have used so far. */
  postgresCpuSeconds(): Promise<number>
}

export interface StageOptions {
  /** Where the daemons leave their CPU profiles, if anywhere. */
  readonly profiles?: string
}

const backlogOptions = { rows: 120_000, orgs: 10 }

export async function openStage(options: StageOptions): Promise<Stage> {
  await using opened = new AsyncDisposableStack()
  const server = opened.use(await startServer())
  const scene = (name: string, own: Omit<SceneOptions, 'profiles'>) =>
    openScene(server, name, { ...own, ...options })
  let scenes = 0
  let receiver: Promise<Receiver> | undefined
  let backlog: Promise<Scene> | undefined
  const open = opened.move()
  return {
    postgresVersion: server.version,
    receiver() {
      receiver ??= startReceiver().then((started) => open.use(started))
      return receiver
    },
    backlog() {
      backlog ??= scene('backlog', backlogOptions).then((made) => open.use(made))
      return backlog
    },
    scene: (own) => scene(`scene_${++scenes}`, own),
    postgresCpuSeconds: () => server.cpuSeconds(),
    [Symbol.asyncDispose]: () => open.disposeAsync(),
  }
}
