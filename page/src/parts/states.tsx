/** What stands where data would: loading, nothing, not here, failed, partial. */

import type { ComponentChildren } from 'preact'
import type { Loaded } from '../state/load.ts'
import { refresh } from '../state/live.ts'

export function Loading({ what, lines = 3 }: { what: string; lines?: number }) {
  return (
    <div class="loading" role="status" aria-label={`Loading ${what}`}>
      {Array.from({ length: lines }, (_, index) => (
        <span class="bone" key={index} />
      ))}
    </div>
  )
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <strong>{title}</strong>
      {children && <div>{children}</div>}
    </div>
  )
}

export function Failed({ error }: { error: Error }) {
  return (
    <div class="notice bad" role="alert">
      <span>{error.message}</span>
      <button type="button" class="quiet" onClick={refresh}>
        Try again
      </button>
    </div>
  )
}

export function Partial({ notes }: { notes: readonly string[] }) {
  if (!notes.length) return null
  return (
    <details class="notice warn">
      <summary>This may not be all of it ({notes.length})</summary>
      <ul>
        {notes.map((note) => (
          <li key={note}>{note}</li>
        ))}
      </ul>
    </details>
  )
}

/** One of the states, or what `children` makes of the data. What failed is told above what was known before. */
export function Shown<T>(properties: {
  loaded: Loaded<T>
  what: string
  absent?: ComponentChildren
  lines?: number
  children: (data: T) => ComponentChildren
}) {
  const { loaded, what, absent, lines, children } = properties
  if (loaded.state === 'loading') return <Loading what={what} {...(lines && { lines })} />
  if (loaded.state === 'absent') return <Empty title={`${capital(what)}: not in this gateway`}>{absent}</Empty>
  if (loaded.state === 'failed')
    return (
      <>
        <Failed error={loaded.error} />
        {loaded.data !== undefined && <div class="stale">{children(loaded.data)}</div>}
      </>
    )
  return <>{children(loaded.data)}</>
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1)
}
