/** Rules, alerts and silences as the gateway has them; times are RFC 3339 texts there. */

import { unix } from './gateway.ts'
import { get, send } from './http.ts'

export interface Alert {
  readonly id: string
  readonly rule_id: string
  readonly state: string
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
  readonly value: number | string
  readonly active_since: string
  readonly firing_since: string | null
  readonly silenced_by?: readonly string[] | string | null
  readonly acknowledged_by?: string | null
}

export interface Rule {
  readonly id: string
  readonly name: string
  readonly type?: string
  readonly source?: string
  readonly group?: string
  readonly query?: string
  readonly metric?: string
  readonly expr?: string
  readonly condition?: string
  readonly threshold?: number
  readonly window_minutes?: number
  readonly severity?: string
  readonly notification_channels?: readonly string[]
  readonly for?: string
  readonly no_data?: string
  readonly enabled?: boolean
  readonly state?: string
  readonly health?: string
  readonly last_error?: string | null
  readonly last_evaluation?: string
  readonly alerts?: readonly Alert[]
  readonly warnings?: readonly string[]
  readonly labels?: Readonly<Record<string, string>>
  readonly annotations?: Readonly<Record<string, string>>
  readonly filter?: Readonly<Record<string, string>>
}

export interface Book {
  readonly rules: readonly Rule[]
  readonly templates: readonly Rule[]
  readonly alerts: readonly Alert[]
  readonly problems: readonly Readonly<Record<string, unknown>>[]
}

export interface Tried {
  readonly for: string
  readonly fired: number
  readonly under_5_minutes: number
}

export interface Backtest {
  readonly fired: number
  readonly under_5_minutes: number
  readonly sentence: string
  readonly series: number
  readonly start: number
  readonly end: number
  readonly with_for: readonly Tried[]
  readonly suggestion: { readonly for: string } | null
  readonly episodes: readonly { readonly labels: Readonly<Record<string, string>>; readonly start: number; readonly end: number | null }[]
}

export interface Transition {
  readonly time: string
  readonly rule_id: string
  readonly rule: string
  readonly labels: Readonly<Record<string, string>>
  readonly from: string
  readonly to: string
  readonly value: number | string
}

export interface Silence {
  readonly id: string
  readonly status?: { readonly state: string }
  readonly matchers: readonly { readonly name: string; readonly value: string; readonly isRegex: boolean; readonly isEqual: boolean }[]
  readonly startsAt: string
  readonly endsAt: string
  readonly createdBy: string
  readonly comment: string
}

export interface Noise {
  readonly messages: number
  readonly sentence: string
  readonly rules: readonly {
    readonly id: string
    readonly name: string
    readonly messages: number
    readonly share: number
    readonly fired: number
    readonly under_5_minutes: number
    readonly edit: { readonly for?: string; readonly why?: string } | null
  }[]
}

/** What may be set of a rule; the rest is told by the gateway. */
export interface Draft {
  readonly name: string
  readonly metric?: string
  readonly expr?: string
  readonly condition?: string
  readonly threshold?: number
  readonly window_minutes?: number
  readonly for?: string
  readonly severity?: string
  readonly no_data?: string
  readonly notification_channels?: readonly string[]
  readonly filter?: Readonly<Record<string, string>>
  readonly annotations?: Readonly<Record<string, string>>
  readonly labels?: Readonly<Record<string, string>>
  readonly enabled?: boolean
}

const path = (id: string): string => `api/alerts/${encodeURIComponent(id)}`

export const book = (abort?: AbortSignal): Promise<Book> => get('api/alerts', {}, abort)
export const create = (draft: Draft): Promise<Rule> => send('POST', 'api/alerts', draft)
export const replace = (id: string, draft: Draft): Promise<Rule> => send('PUT', path(id), draft)
export const change = (id: string, fields: Partial<Draft>): Promise<Rule> => send('PATCH', path(id), fields)
export const remove = (id: string): Promise<null> => send('DELETE', path(id))
export const backtest = (draft: Draft, range: string): Promise<Backtest> => send('POST', 'api/alerts/backtest', { rule: draft, range })
export const test = (id: string): Promise<{ ok: boolean; results: { channel: string; ok: boolean; error?: string; message?: string }[] }> => send('POST', `${path(id)}/test`)
export const acknowledge = (id: string, by: string): Promise<unknown> => send('POST', `${path(id)}/acknowledge`, { by })
export const noise = (start: number, abort?: AbortSignal): Promise<Noise> => get('api/alerts/noise', { start: unix(start) }, abort)

export async function history(start: number, end: number, abort?: AbortSignal): Promise<readonly Transition[]> {
  return (await get<{ history: Transition[] }>('api/alerts/history', { start: unix(start), end: unix(end) }, abort)).history
}

export async function silences(abort?: AbortSignal): Promise<readonly Silence[]> {
  return (await get<{ silences: Silence[] }>('api/silences', {}, abort)).silences
}

export const silence = (asked: { matchers: readonly string[]; duration: string; createdBy: string; comment: string }): Promise<Silence> =>
  send('POST', 'api/silences', asked)
export const expire = (id: string): Promise<null> => send('DELETE', `api/silences/${encodeURIComponent(id)}`)
