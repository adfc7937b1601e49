/** Keys, for those who leave the mouse alone. One letter, or `g` and one. */

import { helpOpen } from '../parts/help.tsx'
import { moved, zoomed } from '../compute/time.ts'
import { refresh } from './live.ts'
import { go, now, range, setRange } from './place.ts'
import { switchTheme } from './theme.ts'

const SCREENS: Record<string, string> = { o: 'overview', e: 'explore', t: 'traces', a: 'alerts', c: 'costs', s: 'system' }

const KEYS: Record<string, () => void> = {
  '?': () => {
    helpOpen.value = true
  },
  r: refresh,
  t: switchTheme,
  '[': () => setRange(moved(range.value, -0.5, now())),
  ']': () => setRange(moved(range.value, 0.5, now())),
  '-': () => setRange(zoomed(range.value, 2)),
  '+': () => setRange(zoomed(range.value, 0.5)),
  '/': () => document.querySelector<HTMLElement>('main input[type="search"]')?.focus(),
}

/** How long after `g` the second letter may come, in ms. */
const CHORD_MS = 1200
let begun = 0

export function onKey(event: KeyboardEvent): void {
  if (event.ctrlKey || event.metaKey || event.altKey || typing(event.composedPath()[0]) || helpOpen.value) return
  const screen = Date.now() - begun < CHORD_MS ? SCREENS[event.key] : undefined
  begun = event.key === 'g' ? Date.now() : 0
  const act = screen ? () => go(screen) : KEYS[event.key]
  if (!act) return
  event.preventDefault()
  act()
}

function typing(target: EventTarget | undefined): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName))
}
