/** Ask, show what came before while asking again, and say plainly when there is nothing or it went wrong. */

import { useEffect, useRef, useState } from 'preact/hooks'
import { ApiError } from '../api/http.ts'
import { pulse } from './live.ts'

export type Loaded<T> =
  | { readonly state: 'loading'; readonly data?: undefined; readonly error?: undefined }
  | { readonly state: 'ready'; readonly data: T; readonly error?: undefined; readonly busy: boolean }
  /** The gateway has no such API, or it is switched off. */
  | { readonly state: 'absent'; readonly data?: undefined; readonly error: ApiError }
  /** With what came before, where something did. */
  | { readonly state: 'failed'; readonly data?: T | undefined; readonly error: Error }

type Settled<T> = Loaded<T> & { readonly key: string }

/**
 * Calls `load` when `key` changes and, unless `still`, at each pulse. An empty key asks nothing.
 * A question under way is not asked twice; one whose key has changed is called off.
 */
export function useLoad<T>(key: string, load: (signal: AbortSignal) => Promise<T>, still = false): Loaded<T> {
  const [settled, settle] = useState<Settled<T>>({ state: 'loading', key })
  const running = useRef<{ key: string; control: AbortController } | null>(null)
  const beat = still ? 0 : pulse.value
  useEffect(() => {
    if (!key || running.current?.key === key) return
    running.current?.control.abort()
    const mine = { key, control: new AbortController() }
    running.current = mine
    settle((before) => (before.state === 'ready' ? { ...before, busy: true } : before))
    load(mine.control.signal).then(
      (data) => finish({ state: 'ready', data, busy: false, key }),
      (error: unknown) => finish(failure(error)),
    )
    function finish(next: Settled<T> | ((before: Settled<T>) => Settled<T>)): void {
      if (running.current !== mine) return
      running.current = null
      settle(next)
    }
    function failure(error: unknown): (before: Settled<T>) => Settled<T> {
      if (error instanceof ApiError && error.absent) return () => ({ state: 'absent', error, key })
      const real = error instanceof Error ? error : new Error(String(error))
      return (before) => ({ state: 'failed', data: before.key === key ? before.data : undefined, error: real, key })
    }
  }, [key, beat])
  useEffect(() => () => running.current?.control.abort(), [])
  // Data of another key would be shown under this one's title.
  return settled.key === key ? settled : { state: 'loading' }
}

/** Like `useLoad`, but keeps showing what was there when only the range has moved. */
export function useKept<T>(loaded: Loaded<T>): Loaded<T> {
  const before = useRef<T | undefined>(undefined)
  if (loaded.state === 'ready') before.current = loaded.data
  if (loaded.state === 'loading' && before.current !== undefined) return { state: 'ready', data: before.current, busy: true }
  return loaded
}
