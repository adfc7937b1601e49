/** The Prometheus HTTP API: prometheus, docs/querying/api.md. */

import type { Labels, MatrixSeries, VectorSeries } from '../compute/series.ts'
import { ApiError, get, type Query } from './http.ts'

const PREFIX = 'api/prometheus/api/v1'

export interface Answer<T> {
  readonly data: T
  /** The answer holds, but perhaps not all of it. */
  readonly warnings: readonly string[]
  readonly infos: readonly string[]
}

export type Result =
  | { readonly resultType: 'matrix'; readonly result: readonly MatrixSeries[] }
  | { readonly resultType: 'vector'; readonly result: readonly VectorSeries[] }
  | { readonly resultType: 'scalar' | 'string'; readonly result: readonly [number, string] }

interface Envelope {
  status: string
  data: unknown
  error?: string
  errorType?: string
  warnings?: string[]
  infos?: string[]
}

async function ask<T>(endpoint: string, query: Query, abort?: AbortSignal): Promise<Answer<T>> {
  const answer = await get<Envelope>(`${PREFIX}/${endpoint}`, query, abort)
  if (answer?.status !== 'success') throw new ApiError(502, answer?.errorType ?? 'bad_answer', answer?.error ?? 'no answer')
  return { data: answer.data as T, warnings: answer.warnings ?? [], infos: answer.infos ?? [] }
}

const seconds = (ms: number): string => (ms / 1000).toFixed(3)

export function instant(query: string, time: number, abort?: AbortSignal): Promise<Answer<Result>> {
  return ask('query', { query, time: seconds(time) }, abort)
}

/** `start`, `end` in ms on the grid of `step` seconds, so that a refresh asks for the same points again. */
export async function overRange(
  query: string,
  start: number,
  end: number,
  step: number,
  abort?: AbortSignal,
): Promise<Answer<readonly MatrixSeries[]>> {
  const answer = await ask<Result>('query_range', { query, start: seconds(start), end: seconds(end), step }, abort)
  return { ...answer, data: answer.data.result as readonly MatrixSeries[] }
}

export async function vector(query: string, time: number, abort?: AbortSignal): Promise<readonly VectorSeries[]> {
  const { data } = await instant(query, time, abort)
  return data.resultType === 'vector' ? data.result : []
}

export interface Exemplar {
  readonly labels: Labels
  readonly value: string
  readonly timestamp: number
}

export interface ExemplarSeries {
  readonly seriesLabels: Labels
  readonly exemplars: readonly Exemplar[]
}

export async function exemplars(query: string, start: number, end: number, abort?: AbortSignal): Promise<readonly ExemplarSeries[]> {
  const found = await ask<readonly ExemplarSeries[]>(
    'query_exemplars',
    { query, start: seconds(start), end: seconds(end) },
    abort,
  )
  return found.data
}

export interface Metadata {
  readonly type: string
  readonly help: string
  readonly unit: string
}

export async function metadata(abort?: AbortSignal): Promise<Readonly<Record<string, readonly Metadata[]>>> {
  return (await ask<Record<string, readonly Metadata[]>>('metadata', {}, abort)).data
}

export async function labelValues(label: string, match: string | null, abort?: AbortSignal): Promise<readonly string[]> {
  return (await ask<readonly string[]>(`label/${label}/values`, { 'match[]': match }, abort)).data
}

/** The labels of the series of a metric; the editor completes from them. */
export async function series(metric: string, abort?: AbortSignal): Promise<readonly Labels[]> {
  return (await ask<readonly Labels[]>('series', { 'match[]': `{__name__=${JSON.stringify(metric)}}`, limit: 1000 }, abort)).data
}

export interface HeadStats {
  readonly headStats: { numSeries: number; numLabelPairs: number; chunkCount: number; minTime: number; maxTime: number }
  readonly seriesCountByMetricName: readonly { name: string; value: number }[]
  readonly labelValueCountByLabelName: readonly { name: string; value: number }[]
  readonly seriesCountByLabelValuePair: readonly { name: string; value: number }[]
}

export async function headStats(limit: number, abort?: AbortSignal): Promise<HeadStats> {
  return (await ask<HeadStats>('status/tsdb', { limit }, abort)).data
}

export async function formatted(query: string): Promise<string> {
  return (await ask<string>('format_query', { query })).data
}
