/** `spillway run`: migrate, then serve until a signal. */
import { Daemon } from '../app.ts'
import { parseConfig } from '../config.ts'
import { createLog } from '../telemetry/log.ts'
import { Metrics } from '../telemetry/metrics.ts'
import { version } from '../version.ts'
import { type AddCommand, CommandFailed } from './command.ts'

export const addRun: AddCommand = (program, { env, signal }) => {
  program
    .command('run')
    .description('migrate the database, then forward events until SIGTERM or SIGINT')
    .action(async () => {
      const config = parseConfig(env)
      const metrics = new Metrics({ version, perDestination: config.metricsPerDestination })
      const log = createLog({ level: config.logLevel, version, metrics })
      const daemon = new Daemon(config, log, metrics)
      const signalled = new Promise<void>((resolve) => {
        if (signal.aborted) resolve()
        signal.addEventListener('abort', () => resolve(), { once: true })
      })
      try {
        const running = daemon.start().then(() => daemon.run())
        // Its end by a signal is no failure; `stop` waits for it.
        running.catch(() => {})
        await Promise.race([running, signalled])
      } catch (error) {
        log.emit('daemon.failed', { error })
        await daemon.stop('an error')
        throw new CommandFailed()
      }
      await daemon.stop(String(signal.reason))
    })
}
