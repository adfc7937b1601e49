/** The frame around every screen: where one can go, the range and refresh that all share, the keys. */

import type { ComponentType } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import { locked } from './api/http.ts'
import { ago } from './compute/format.ts'
import { Help, helpOpen } from './parts/help.tsx'
import { RangePicker, RefreshPicker } from './parts/range.tsx'
import { Failed, Loading } from './parts/states.tsx'
import { onKey } from './state/keys.ts'
import { connection, tick } from './state/live.ts'
import { href, place } from './state/place.ts'
import { switchTheme, dark } from './state/theme.ts'
import { Connect } from './screens/first-run.tsx'
import { Login } from './screens/login.tsx'
import { Overview } from './screens/overview.tsx'

interface Screen {
  readonly path: string
  readonly title: string
  /** Others come when they are first looked at. */
  readonly load: () => Promise<ComponentType>
}

export const SCREENS: readonly Screen[] = [
  { path: 'overview', title: 'Overview', load: async () => Overview },
  { path: 'explore', title: 'Explore', load: async () => (await import('./screens/explore.tsx')).Explore },
  { path: 'traces', title: 'Traces', load: async () => (await import('./screens/traces.tsx')).Traces },
  { path: 'alerts', title: 'Alerts', load: async () => (await import('./screens/alerts.tsx')).Alerts },
  { path: 'costs', title: 'Costs', load: async () => (await import('./screens/costs.tsx')).Costs },
  { path: 'system', title: 'System', load: async () => (await import('./screens/system.tsx')).System },
]

/** Reached from others, so not in the menu. */
const FURTHER: readonly Screen[] = [
  { path: 'service', title: 'Service', load: async () => (await import('./screens/service.tsx')).ServiceScreen },
  { path: 'connect', title: 'Connect', load: async () => Connect },
]

export function App() {
  useEffect(() => {
    document.addEventListener('keydown', onKey)
    return () => document.removeEventListener('keydown', onKey)
  }, [])
  if (locked.value) return <Login />
  const { screen, rest } = place.value
  const known = [...SCREENS, ...FURTHER].find((one) => one.path === screen)
  const title = screen === 'service' ? (rest[0] ?? 'Service') : (known?.title ?? 'Not found')
  return (
    <div class="frame">
      <a class="skip" href="#main" onClick={(event) => focusMain(event)}>
        Skip to the content
      </a>
      <Side screen={screen} />
      <main id="main" tabIndex={-1}>
        <Top title={title} />
        {known ? <Loaded screen={known} key={known.path} /> : <NotFound />}
      </main>
      {helpOpen.value && <Help />}
    </div>
  )
}

/** The address behind # is the screen's, so the browser cannot jump by itself. */
function focusMain(event: Event): void {
  event.preventDefault()
  document.getElementById('main')?.focus()
}

function Side({ screen }: { screen: string }) {
  const firing = tick.value?.firing ?? 0
  const nav = useRef<HTMLElement>(null)
  useEffect(() => {
    // On a phone the menu is a row that is wider than the screen.
    nav.current?.querySelector('[aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'nearest' })
  }, [screen])
  return (
    <header class="side">
      <a class="brand" href={href('overview')} aria-label="Mirubato Monitoring: overview">
        <img src="./icon.svg" alt="" />
        <span>Mirubato</span>
      </a>
      <nav aria-label="Screens" ref={nav}>
        {SCREENS.map(({ path, title }) => (
          <a key={path} href={href(path)} aria-current={path === screen || (path === 'overview' && screen === 'service') ? 'page' : undefined}>
            {title}
            {path === 'alerts' && firing > 0 && (
              <span class="count" title={`${firing} firing`}>
                {firing}
              </span>
            )}
          </a>
        ))}
      </nav>
      <div class="foot">
        <Live />
        <a href={href('connect')}>Connect an app</a>
        <a href="./docs">API</a>
      </div>
    </header>
  )
}

const SAID: Record<string, string> = {
  live: 'Live',
  polling: 'Every 10 s',
  lost: 'Connection lost',
  connecting: 'Connecting',
  off: 'Not live',
}

function Live() {
  const last = tick.value?.last_sample_ms
  const state = connection.value
  return (
    <span title={last ? 'When the newest sample is from' : ''}>
      <span class={`dot ${state}`} aria-hidden="true" />
      {SAID[state]}
      {state === 'live' && last ? <span class="muted"> · {ago(last, tick.value?.now_ms ?? last)}</span> : null}
    </span>
  )
}

function Top({ title }: { title: string }) {
  useEffect(() => {
    document.title = `${title} · Mirubato`
  }, [title])
  return (
    <div class="top">
      <h1>{title}</h1>
      <div class="group">
        <RangePicker />
        <RefreshPicker />
      </div>
      <div class="group">
        <button type="button" class="quiet" onClick={switchTheme} aria-label={dark.value ? 'Light theme' : 'Dark theme'} title="Dark or light (t)">
          {dark.value ? '☀' : '☾'}
        </button>
        <button type="button" class="quiet" onClick={() => (helpOpen.value = true)} aria-label="Keys and help" title="Keys (?)">
          ?
        </button>
      </div>
    </div>
  )
}

function Loaded({ screen }: { screen: Screen }) {
  const [Part, setPart] = useState<ComponentType | null>(() => (screen.path === 'overview' ? Overview : null))
  const [error, setError] = useState<Error | null>(null)
  useEffect(() => {
    screen.load().then(
      (part) => setPart(() => part),
      () => setError(new Error('This screen could not be loaded; perhaps the gateway was upgraded. Reload the page.')),
    )
  }, [])
  if (error) return <Failed error={error} />
  return Part ? <Part /> : <Loading what={screen.title} lines={3} />
}

function NotFound() {
  return (
    <p>
      There is no such screen. <a href={href('overview')}>Overview</a>
    </p>
  )
}
