import { describe, expect, it } from 'vitest'
import { familyOf, firstQuery, quoted, Requests } from '../src/compute/promql.ts'

describe('requests', () => {
  const requests = new Requests(familyOf('http'), 'a"b')
  it('asks for one service', () => {
    expect(requests.rate('5m')).toBe('sum (rate(http_server_request_duration_seconds_count{service_name="a\\"b"}[5m]))')
  })
  it('counts what failed in two ways once', () => {
    expect(requests.errors('1m', ['http_route'])).toMatch(/^sum by \(http_route\) \(rate\(.*5\.\..*\) or rate\(.*error_type!="".*\)\)$/)
  })
  it('gives 0 and not nothing where nothing fails', () => {
    expect(new Requests(familyOf('spans')).errorRate('5m', ['service_name'])).toContain('or 0 * sum by (service_name)')
  })
  it('counts errors of a Worker by their own counter', () => {
    expect(new Requests(familyOf('worker'), 'api').errors('5m')).toBe('sum (rate(cloudflare_worker_errors_total{script_name="api"}[5m]))')
  })
  it('answers in seconds', () => {
    expect(new Requests(familyOf('http_old')).quantile(0.95, '5m')).toMatch(/^0\.001 \* histogram_quantile\(0\.95, sum by \(le\)/)
  })
})

describe('first queries', () => {
  it.each([
    ['orders_total', 'counter', 'sum (rate(orders_total[5m]))'],
    ['queue_depth', 'gauge', 'queue_depth'],
    ['latency_seconds_bucket', 'histogram', 'histogram_quantile(0.95, sum by (le) (rate(latency_seconds_bucket[5m])))'],
    ['latency_seconds', 'histogram', 'histogram_quantile(0.95, sum (rate(latency_seconds[5m])))'],
  ])('%s', (metric, type, query) => expect(firstQuery(metric, type)).toBe(query))
  it('keeps services apart', () => {
    expect(firstQuery('x_bucket', 'histogram', ['service_name'])).toContain('sum by (service_name, le)')
  })
})

it('quotes as PromQL does', () => expect(quoted('a\\b"c\n')).toBe('"a\\\\b\\"c\\n"'))
