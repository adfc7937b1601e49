/** Where the page is: everything that can be shared stands in the URL behind the `#`. */

import { computed, signal } from '@preact/signals'
import { bounds, type Bounds, type Range, rangeOf, rangeParameters } from '../compute/time.ts'

export interface Place {
  readonly screen: string
  /** What follows the screen: a service, a trace id, a tab. */
  readonly rest: readonly string[]
  readonly parameters: URLSearchParams
}

export function parsed(hash: string): Place {
  const [path = '', query = ''] = hash.replace(/^#?\/?/, '').split('?', 2)
  const parts = path.split('/').filter(Boolean).map(decoded)
  return { screen: parts[0] ?? 'overview', rest: parts.slice(1), parameters: new URLSearchParams(query) }
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

export const place = signal<Place>(parsed(location.hash))
addEventListener('hashchange', () => {
  place.value = parsed(location.hash)
})

export const range = computed<Range>(() => rangeOf(place.value.parameters), {
  name: 'range',
})

/** `live`, `off`, or a duration such as `30s`. */
export const every = computed(() => place.value.parameters.get('refresh') ?? 'live')

export function now(): number {
  return Date.now()
}

export function currentBounds(): Bounds {
  return bounds(range.value, now())
}

type Parameters = Record<string, string | readonly string[] | null | undefined>

/** A link to a screen, with the range and the refresh that all screens share. */
export function href(path: string, parameters: Parameters = {}): string {
  const shared = { ...rangeParameters(range.value), refresh: every.value === 'live' ? null : every.value }
  return `#/${path}${query({ ...shared, ...parameters })}`
}

function query(parameters: Parameters): string {
  const found = new URLSearchParams()
  for (const [key, value] of Object.entries(parameters)) {
    if (typeof value === 'string') found.set(key, value)
    else for (const one of value ?? []) found.append(key, one)
  }
  const text = found.toString()
  return text && `?${text}`
}

export function go(path: string, parameters: Parameters = {}): void {
  location.hash = href(path, parameters)
}

/** Change parameters of this place; null takes one away. `push` makes a step that the back button undoes. */
export function patch(change: Parameters, push = false): void {
  const found: Record<string, string[]> = {}
  for (const [key, value] of place.value.parameters) found[key] = [...(found[key] ?? []), value]
  const hash = `#/${[place.value.screen, ...place.value.rest.map(encodeURIComponent)].join('/')}${query({ ...found, ...change })}`
  if (hash === location.hash) return
  if (push) location.hash = hash
  else {
    history.replaceState(null, '', hash)
    place.value = parsed(hash)
  }
}

export function setRange(to: Range): void {
  patch({ start: null, end: null, ...rangeParameters(to) }, true)
}
