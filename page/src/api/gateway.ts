/** The gateway's own answers, as far as the page reads them. */

import { get } from './http.ts'

export interface Service {
  readonly service_name: string
  readonly source: string
  readonly rate_per_s: number | null
  readonly error_rate: number | null
  readonly error_rate_low: number | null
  readonly error_rate_high: number | null
  readonly p50_ms: number | null
  readonly p95_ms: number | null
  readonly p99_ms: number | null
  readonly saturation: number | null
  readonly last_seen_ms: number | null
  readonly version: string
  readonly sparkline: {
    readonly times_ms?: readonly number[]
    readonly rate_per_s?: readonly (number | null)[]
    readonly error_rate?: readonly (number | null)[]
  }
}

export interface ActiveAlert {
  readonly id?: string
  readonly name: string
  readonly severity?: string
  readonly state: string
  readonly since_ms?: number | null
  readonly value?: number | string | null
  readonly labels?: Readonly<Record<string, string>>
}

export interface Deploy {
  readonly service_name: string
  readonly version: string
  readonly time_ms: number
  readonly previous_version?: string
}

export interface Edge {
  readonly client: string
  readonly server: string
  readonly rate_per_s: number | null
  readonly error_rate: number | null
  readonly p95_ms: number | null
}

export interface Projection {
  readonly low: number | null
  readonly mid: number | null
  readonly high: number | null
}

export interface Probe {
  readonly name?: string
  readonly target?: string
  readonly up?: boolean | null
  readonly success?: boolean | null
  readonly duration_ms?: number | null
  readonly status?: number | null
}

export interface Dashboard {
  readonly now_ms: number
  readonly start_ms: number
  readonly end_ms: number
  readonly waiting: boolean
  readonly services: readonly Service[]
  readonly graph?: { readonly edges: readonly Edge[] }
  readonly alerts?: { readonly firing: number; readonly pending: number; readonly active: readonly ActiveAlert[] } | null
  readonly costs?: { readonly today: number | null; readonly so_far: number | null; readonly projection?: Projection | null } | null
  readonly deploys?: readonly Deploy[] | null
  readonly probes?: readonly Probe[] | null
}

export interface InboxReason {
  readonly text: string
  readonly count: number
  readonly fix?: string
}

export interface InboxRequest {
  readonly time_ms: number
  readonly door: string
  readonly signal: string
  readonly verdict: 'ok' | 'partial' | 'refused'
  readonly accepted: number
  readonly rejected: number
  readonly reasons: readonly InboxReason[]
  readonly bytes: number
}

export interface Health {
  readonly status: string
  readonly version: string
  readonly uptime_s: number
  readonly storage: Readonly<Record<string, number | string | null>>
  readonly last_sample_ms: number | null
  readonly queues: Readonly<Record<string, number | null>>
  readonly [more: string]: unknown
}

/** A moment for `start` and `end` of the gateway's own APIs. */
export const unix = (ms: number): string => (ms / 1000).toFixed(3)

export function dashboard(start: number, end: number, abort?: AbortSignal): Promise<Dashboard> {
  return get('api/dashboard', { start: unix(start), end: unix(end) }, abort)
}

export async function inbox(abort?: AbortSignal): Promise<readonly InboxRequest[]> {
  return (await get<{ requests: InboxRequest[] }>('api/inbox', {}, abort)).requests
}

export function health(abort?: AbortSignal): Promise<Health> {
  return get('api/health', {}, abort)
}

export async function deploys(start: number, end: number, abort?: AbortSignal): Promise<readonly Deploy[]> {
  const found = await get<{ deploys?: Deploy[] } | Deploy[]>('api/deploys', { start: unix(start), end: unix(end) }, abort)
  return Array.isArray(found) ? found : (found.deploys ?? [])
}
