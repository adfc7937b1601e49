/** Rules as a form holds them, and as YAML. Pure. */

import type { Draft, Rule } from '../api/alerts.ts'
import { quoted } from './promql.ts'

/** All texts, as fields of a form are. */
export interface Fields {
  readonly name: string
  readonly kind: 'metric' | 'expr'
  readonly metric: string
  readonly expr: string
  readonly condition: string
  readonly threshold: string
  readonly window: string
  readonly for: string
  readonly severity: string
  readonly noData: string
  readonly channels: string
  readonly service: string
}

export const BUILT_IN: readonly { readonly name: string; readonly unit: string; readonly what: string; readonly threshold: string }[] = [
  { name: 'error_rate', unit: 'share, 0 to 1', what: 'failed requests over all', threshold: '0.01' },
  { name: 'response_time_p95', unit: 'ms', what: '95 % of requests are faster', threshold: '1000' },
  { name: 'success_rate', unit: 'share, 0 to 1', what: '1 − error rate', threshold: '0.99' },
  { name: 'queue_depth', unit: 'messages', what: 'what waits in queues', threshold: '1000' },
  { name: 'cost_today', unit: 'USD', what: 'spent since midnight', threshold: '5' },
  { name: 'cost_month_projected', unit: 'USD', what: 'by the end of the month', threshold: '25' },
  { name: 'budget_hours_left', unit: 'hours', what: 'until the budget is gone', threshold: '24' },
]

export const CONDITIONS: readonly [string, string][] = [
  ['greater_than', 'above'],
  ['greater_or_equal', 'at or above'],
  ['less_than', 'below'],
  ['less_or_equal', 'at or below'],
  ['equal', 'equal to'],
  ['not_equal', 'not equal to'],
]

export const NEW: Fields = {
  name: '',
  kind: 'metric',
  metric: 'error_rate',
  expr: '',
  condition: 'greater_than',
  threshold: '0.01',
  window: '5',
  for: '0s',
  severity: 'warning',
  noData: 'keep',
  channels: '',
  service: '',
}

export function fieldsOf(rule: Rule): Fields {
  return {
    name: rule.name,
    kind: rule.metric ? 'metric' : 'expr',
    metric: rule.metric ?? '',
    expr: rule.expr ?? (rule.metric ? '' : (rule.query ?? '')),
    condition: rule.condition ?? '',
    threshold: rule.threshold === undefined ? '' : String(rule.threshold),
    window: String(rule.window_minutes ?? 5),
    for: rule.for ?? '0s',
    severity: rule.severity ?? 'warning',
    noData: rule.no_data ?? 'keep',
    channels: (rule.notification_channels ?? []).join(', '),
    service: rule.filter?.['service_name'] ?? '',
  }
}

/** What is sent; `before` keeps what the form does not show. */
export function draftOf(fields: Fields, before: Partial<Draft> = {}): Draft {
  const compares = fields.kind === 'metric' || fields.condition !== ''
  const channels = fields.channels.split(/[,\s]+/).filter(Boolean)
  const { service_name: _, ...filter } = before.filter ?? {}
  const who = fields.kind === 'metric' ? { ...filter, ...(fields.service && { service_name: fields.service }) } : {}
  return {
    name: fields.name.trim(),
    ...(fields.kind === 'metric' ? { metric: fields.metric.trim(), window_minutes: Number(fields.window) || 5 } : { expr: fields.expr.trim() }),
    ...(compares && { condition: fields.condition || 'greater_than', threshold: Number(fields.threshold) }),
    for: fields.for.trim() || '0s',
    severity: fields.severity,
    ...(compares && { no_data: fields.noData }),
    ...(channels.length && { notification_channels: channels }),
    ...(Object.keys(who).length && { filter: who }),
    ...(before.annotations && { annotations: before.annotations }),
    ...(before.labels && { labels: before.labels }),
  }
}

const OPERATORS: Record<string, string> = {
  greater_than: '>',
  greater_or_equal: '>=',
  less_than: '<',
  less_or_equal: '<=',
  equal: '==',
  not_equal: '!=',
}

/** A Prometheus rule file with this one rule; `query` is what the gateway made of a built-in. */
export function ruleFile(draft: Draft, query: string): string {
  const bare = draft.expr ?? query
  const expr = draft.condition ? `(${bare}) ${OPERATORS[draft.condition] ?? '>'} ${draft.threshold ?? 0}` : bare
  return yaml({
    groups: [
      {
        name: 'mirubato',
        rules: [
          {
            alert: draft.name,
            expr,
            ...(draft.for && draft.for !== '0s' && { for: draft.for }),
            labels: { severity: draft.severity ?? 'warning', ...draft.labels },
            ...(draft.annotations && { annotations: draft.annotations }),
          },
        ],
      },
    ],
  })
}

/** YAML of plain data: texts that could be read as something else stand in quotes. */
export function yaml(value: unknown, depth = 0): string {
  const space = '  '.repeat(depth)
  if (Array.isArray(value)) {
    if (!value.length) return '[]'
    return value.map((one) => `${space}- ${yaml(one, depth + 1).replace(/^\s+/, '')}`).join('\n')
  }
  if (value !== null && typeof value === 'object') {
    const entries = Object.entries(value).filter(([, one]) => one !== undefined && one !== null)
    return entries.map(([key, one]) => `${space}${key}:${below(one, depth)}`).join('\n')
  }
  return scalar(value)
}

function below(value: unknown, depth: number): string {
  if (Array.isArray(value) && value.length) return `\n${yaml(value, depth + 1)}`
  if (value !== null && typeof value === 'object' && !Array.isArray(value)) return `\n${yaml(value, depth + 1)}`
  return ` ${yaml(value, depth)}`
}

function scalar(value: unknown): string {
  if (typeof value !== 'string') return String(value)
  return /^[A-Za-z_][A-Za-z0-9_ .()/-]*$/.test(value) && !/^(true|false|null|yes|no|on|off|y|n)$/i.test(value) ? value : JSON.stringify(value)
}

/** The matchers that pick just this alert. */
export function matchersOf(labels: Readonly<Record<string, string>>): string[] {
  return Object.entries(labels)
    .filter(([key]) => key !== 'severity')
    .map(([key, value]) => `${key}=${quoted(value)}`)
}

/** One matcher a line, or with commas outside of quotes between. */
export function matcherLines(text: string): string[] {
  return (text.match(/(?:"(?:\\.|[^"\\])*"|[^,\n"])+/g) ?? []).map((one) => one.trim()).filter(Boolean)
}
