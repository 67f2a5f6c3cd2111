/**
 * The direction of dependencies:
 *   cli → app → {delivery, destinations, sources, http} → {db, egress, events, telemetry}
 * `providers/` imports nothing from `src/`, and connections are opened in `src/egress` only.
 */
const subjects = '^src/(delivery|destinations|sources|http|cluster)/'
const floor = '^src/(db|egress|events|telemetry)/'

module.exports = {
  forbidden: [
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
    {
      name: 'providers-stand-alone',
      comment: 'A destination type knows its contract and its wire, nothing of the daemon.',
      severity: 'error',
      from: { path: '^providers/' },
      to: { path: '^src/' },
    },
    {
      name: 'only-app-names-the-providers',
      comment:
        'All of src may use the contract, its field reader and the reading of JSON text; only the composition root knows which providers there are.',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/app\\.ts$' },
      to: { path: '^providers/', pathNot: '^providers/(provider|fields|json-text)\\.ts$' },
    },
    {
      name: 'floor-knows-no-subject',
      severity: 'error',
      from: { path: floor },
      to: { path: [subjects, '^src/(cli|app|main)'] },
    },
    {
      name: 'subjects-know-no-app',
      severity: 'error',
      from: { path: subjects },
      to: { path: '^src/(cli|app|main)' },
    },
    {
      name: 'app-knows-no-cli',
      severity: 'error',
      from: { path: '^src/app\\.ts$' },
      to: { path: '^src/(cli|main)' },
    },
    {
      name: 'one-way-out',
      comment:
        'What customers configure is reached through src/egress and its address guard alone. Modules that also have innocent uses (http, net) are in test/unit/project/egress.test.ts. The one that goes another way is the exporter of spans, to a collector that the operator names: docs/decisions/0013.',
      severity: 'error',
      from: { path: '^(src|providers)/', pathNot: '^src/egress/' },
      to: { path: ['^(node:)?(https|http2|tls|dgram|dns)(/|$)', '(^|/)undici(/|$)'] },
    },
    {
      name: 'tracing-stays-narrow',
      comment: 'The rest of the daemon knows the interface in src/telemetry/tracing.ts.',
      severity: 'error',
      from: { path: '^(src|providers)/', pathNot: '^src/telemetry/otlp-tracing\\.ts$' },
      to: { path: '(^|/)@opentelemetry/' },
    },
    {
      name: 'tracing-on-demand',
      comment: 'Where tracing is off, OpenTelemetry is not loaded.',
      severity: 'error',
      from: { path: '^(src|providers)/' },
      to: { path: '^src/telemetry/otlp-tracing\\.ts$', dynamic: false },
    },
    {
      name: 'no-dev-dependency-in-production',
      comment: 'The embedded PostgreSQL is the one exception: it is loaded on demand, in development only.',
      severity: 'error',
      from: { path: '^(src|providers)/', pathNot: '^src/db/embedded/' },
      to: { dependencyTypes: ['npm-dev'], dependencyTypesNot: ['type-only'] },
    },
  ],
  options: {
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    doNotFollow: { path: 'node_modules' },
  },
}
