/** The range of time and the refresh, which stand in the URL and so are the same on all screens. */

import { useEffect, useRef, useState } from 'preact/hooks'
import { bounds, duration, moved, PRESETS, rangeText, zoomed } from '../compute/time.ts'
import { refresh } from '../state/live.ts'
import { every, now, patch, range, setRange } from '../state/place.ts'

export function RangePicker() {
  const [open, setOpen] = useState(false)
  const host = useRef<HTMLDivElement>(null)
  useEffect(() => {
    if (!open) return
    const outside = (event: Event): void => {
      if (!event.composedPath().includes(host.current as EventTarget)) setOpen(false)
    }
    document.addEventListener('pointerdown', outside)
    document.addEventListener('focusin', outside)
    return () => {
      document.removeEventListener('pointerdown', outside)
      document.removeEventListener('focusin', outside)
    }
  }, [open])
  return (
    <div class="menu" ref={host} onKeyDown={(event) => event.key === 'Escape' && setOpen(false)}>
      <span class="segments">
        <button type="button" aria-label="Earlier" title="Earlier ( [ )" onClick={() => setRange(moved(range.value, -0.5, now()))}>
          ‹
        </button>
        <button type="button" aria-expanded={open} onClick={() => setOpen(!open)}>
          {rangeText(range.value)}
        </button>
        <button type="button" aria-label="Later" title="Later ( ] )" onClick={() => setRange(moved(range.value, 0.5, now()))}>
          ›
        </button>
      </span>
      {open && <Choices close={() => setOpen(false)} />}
    </div>
  )
}

function Choices({ close }: { close: () => void }) {
  const { start, end } = bounds(range.value, now())
  const [from, setFrom] = useState(local(start))
  const [to, setTo] = useState(local(end))
  const [wrong, setWrong] = useState(false)
  const apply = (event: Event): void => {
    event.preventDefault()
    const between = { start: Date.parse(from), end: Date.parse(to) }
    if (!(between.end > between.start)) return setWrong(true)
    setRange(between)
    close()
  }
  return (
    <div class="list">
      <div class="presets">
        {PRESETS.map((preset) => (
          <button
            type="button"
            key={preset}
            onClick={() => {
              setRange({ last: duration(preset) ?? 0 })
              close()
            }}
          >
            {preset}
          </button>
        ))}
        <button type="button" aria-label="Twice as long" onClick={() => setRange(zoomed(range.value, 2))}>
          ×2
        </button>
      </div>
      <form onSubmit={apply} style={{ display: 'grid', gap: '8px' }}>
        <label class="field">
          From
          <input type="datetime-local" step="1" value={from} onInput={(event) => setFrom(event.currentTarget.value)} />
        </label>
        <label class="field">
          To
          <input type="datetime-local" step="1" value={to} onInput={(event) => setTo(event.currentTarget.value)} />
        </label>
        {wrong && (
          <span class="bad-text" role="alert">
            The end has to be after the start.
          </span>
        )}
        <button type="submit" class="primary">
          Show
        </button>
      </form>
    </div>
  )
}

/** As `datetime-local` wants it: local time, no zone. */
function local(ms: number): string {
  const at = new Date(ms - new Date(ms).getTimezoneOffset() * 60_000)
  return at.toISOString().slice(0, 19)
}

export function RefreshPicker() {
  return (
    <span class="row" style={{ gap: '4px', flexWrap: 'nowrap' }}>
      <select
        aria-label="Refresh"
        value={every.value}
        onChange={(event) => patch({ refresh: event.currentTarget.value === 'live' ? null : event.currentTarget.value })}
      >
        <option value="live">Live</option>
        <option value="10s">10 s</option>
        <option value="30s">30 s</option>
        <option value="1m">1 min</option>
        <option value="5m">5 min</option>
        <option value="off">Off</option>
      </select>
      <button type="button" class="quiet" onClick={refresh} aria-label="Look again now" title="Look again now (r)">
        ↻
      </button>
    </span>
  )
}
