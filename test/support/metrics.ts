/** What a daemon tells at /metrics, read as a scraper reads it. */
import { expect } from 'vitest'
import type { DaemonProcess } from './daemon.ts'

export interface Sample {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

export interface Scrape {
  readonly text: string
  readonly samples: readonly Sample[]
  /** Names of families, also of those without a sample. */
  readonly families: readonly string[]
  /** Of the one sample that has these labels and no others; undefined when there is none. */
  value(name: string, labels?: Readonly<Record<string, string>>): number | undefined
}

export function readScrape(text: string): Scrape {
  const lines = text.split('\n')
  const samples = lines.flatMap((line) => {
    const [, name, labels = '', value] = /^([a-z_]+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? []
    if (name === undefined) return []
    const pairs = [...labels.matchAll(/([a-z_]+)="((?:[^"\\]|\\.)*)"/g)].map(([, key, held]) => [key, held])
    return [{ name, labels: Object.fromEntries(pairs), value: Number(value) }]
  })
  return {
    text,
    samples,
    families: lines.flatMap((line) => /^# TYPE (\S+) /.exec(line)?.[1] ?? []),
    value: (name, labels = {}) =>
      samples.find(
        (sample) => sample.name === name && JSON.stringify(sample.labels) === JSON.stringify(labels),
      )?.value,
  }
}

export async function metricsUrl(daemon: DaemonProcess): Promise<string> {
  const { http } = await daemon.logged('daemon.started')
  return `${http}/metrics`
}

export async function scrape(daemon: DaemonProcess): Promise<Scrape> {
  const response = await fetch(await metricsUrl(daemon))
  expect(response.status).toBe(200)
  return readScrape(await response.text())
}

/** Scrapes until it is as it should be. */
export async function scrapedWhen(daemon: DaemonProcess, fits: (scrape: Scrape) => boolean): Promise<Scrape> {
  for (;;) {
    const seen = await scrape(daemon)
    if (fits(seen)) return seen
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}
