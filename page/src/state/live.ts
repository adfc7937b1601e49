/** What makes the page look again: the gateway's events, a clock, or a person. */

import { effect, signal } from '@preact/signals'
import { duration, length } from '../compute/time.ts'
import { every, range } from './place.ts'

export interface Tick {
  readonly now_ms: number
  readonly last_sample_ms: number | null
  readonly accepted?: Readonly<Record<string, number>>
  readonly firing?: number
}

/** Grows by one each time that what is visible should be asked again. */
export const pulse = signal(0)
export const tick = signal<Tick | null>(null)
export type Connection = 'connecting' | 'live' | 'polling' | 'lost' | 'off'
export const connection = signal<Connection>('connecting')

const POLL_MS = 10_000
const RETRY_MS = 4000
/** A long range changes slowly: a 240th of it, and between these. */
const PAUSE_MS = [5000, 60_000] as const

let last = 0

export function refresh(): void {
  last = Date.now()
  pulse.value += 1
}

/** How long to leave what is shown alone while data comes in. */
export function pauseFor(span: number): number {
  return Math.min(PAUSE_MS[1], Math.max(PAUSE_MS[0], span / 240))
}

function due(): void {
  if (document.hidden || !('last' in range.value)) return
  if (Date.now() - last >= pauseFor(length(range.value)) - 500) refresh()
}

let source: EventSource | null = null
let timer: ReturnType<typeof setInterval> | undefined
let failures = 0

function listen(): void {
  source = new EventSource('./api/events')
  source.addEventListener('tick', (event) => {
    failures = 0
    const before = tick.value
    tick.value = JSON.parse(event.data as string) as Tick
    connection.value = 'live'
    // An alert that begins or ends is not left for the next turn.
    if (before && before.firing !== tick.value.firing) refresh()
    else due()
  })
  source.onerror = () => {
    source?.close()
    failures += 1
    connection.value = failures > 2 ? 'polling' : 'lost'
    timer ??= setInterval(due, POLL_MS)
    retry = setTimeout(start, Math.min(60_000, RETRY_MS * failures))
  }
}

let retry: ReturnType<typeof setTimeout> | undefined

function stop(): void {
  source?.close()
  source = null
  clearInterval(timer)
  clearTimeout(retry)
  timer = undefined
}

function start(): void {
  stop()
  const how = every.peek()
  if (how === 'live') listen()
  else connection.value = 'off'
  const pause = duration(how)
  if (pause) timer = setInterval(() => document.hidden || refresh(), Math.max(1000, pause))
}

export function startLive(): void {
  let how = ''
  effect(() => {
    if (every.value === how) return
    how = every.value
    start()
  })
  document.addEventListener('visibilitychange', () => document.hidden || due())
}
