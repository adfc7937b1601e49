import { describe, expect, it } from 'vitest'
import { draftOf, fieldsOf, matcherLines, matchersOf, NEW, ruleFile, yaml } from '../src/compute/rules.ts'
import { onlyHere, snippets } from '../src/compute/snippets.ts'
import { verdict, wilson } from '../src/compute/verdict.ts'
import { ownTime, rows, type Span } from '../src/compute/waterfall.ts'

const span = (id: string, parent: string, offset: number, length: number): Span => ({
  span_id: id,
  parent_id: parent,
  service: 's',
  name: id,
  kind: '',
  offset_ms: offset,
  duration_ms: length,
  error: false,
  attributes: {},
})

describe('the waterfall', () => {
  const spans = [span('c', 'a', 50, 30), span('a', '', 0, 100), span('b', 'a', 10, 30), span('d', 'b', 12, 5)]
  const order = (closed: string[] = []) => rows(spans, new Set(closed)).map((row) => `${row.depth}${row.span.span_id}`)
  it('stands in the order of the calls', () => expect(order()).toEqual(['0a', '1b', '2d', '1c']))
  it('folds', () => expect(order(['b'])).toEqual(['0a', '1b', '1c']))
  it('places bars', () => expect(rows(spans, new Set())[3]).toMatchObject({ left: 0.5, width: 0.3 }))
  it('shows spans without their parent, and circles', () => {
    expect(rows([span('x', 'gone', 0, 1), span('y', 'z', 0, 1), span('z', 'y', 0, 1)], new Set())).toHaveLength(3)
  })
  it('takes the time of children out once', () => {
    expect(ownTime(spans[1] as Span, [...spans, span('e', 'a', 20, 40)])).toBe(30)
  })
})

describe('verdicts', () => {
  const window = (requests: number, errors: number, p95 = 0.1) => ({ requests, errors, p95 })
  it.each([
    [window(10, 0), window(1000, 0), 'unsure'],
    [window(1000, 10), window(1000, 12), 'same'],
    [window(1000, 10), window(1000, 60), 'worse'],
    [window(1000, 60), window(1000, 5), 'better'],
    [window(1000, 10), window(1000, 10, 0.15), 'worse'],
    [window(1000, 10), window(1000, 10, 0.05), 'better'],
  ])('%j then %j is %s', (before, after, word) => expect(verdict(before, after).word).toBe(word))
  it('has an interval that holds the share', () => {
    const [low, high] = wilson(3, 100)
    expect(low).toBeGreaterThan(0)
    expect(low).toBeLessThan(0.03)
    expect(high).toBeGreaterThan(0.03)
    expect(wilson(0, 0)).toEqual([0, 1])
  })
})

describe('rules', () => {
  it('sends what the API takes', () => {
    expect(draftOf({ ...NEW, name: ' Many fail ', channels: 'slack, email', service: 'api' })).toEqual({
      name: 'Many fail',
      metric: 'error_rate',
      window_minutes: 5,
      condition: 'greater_than',
      threshold: 0.01,
      for: '0s',
      severity: 'warning',
      no_data: 'keep',
      notification_channels: ['slack', 'email'],
      filter: { service_name: 'api' },
    })
  })
  it('leaves a bare expression without a threshold', () => {
    expect(draftOf({ ...NEW, name: 'x', kind: 'expr', expr: 'up == 0', condition: '' })).toEqual({ name: 'x', expr: 'up == 0', for: '0s', severity: 'warning' })
  })
  it('comes back into the form as it went out', () => {
    const fields = { ...NEW, name: 'x', service: 'api', for: '10m' }
    expect(fieldsOf({ id: '1', ...draftOf(fields) })).toEqual(fields)
  })
  it('writes a rule file', () => {
    expect(ruleFile({ name: 'Down', expr: 'up', condition: 'less_than', threshold: 1, for: '5m', severity: 'critical' }, '')).toBe(
      'groups:\n  - name: mirubato\n    rules:\n      - alert: Down\n        expr: "(up) < 1"\n        for: "5m"\n        labels:\n          severity: critical',
    )
  })
  it('quotes what YAML would read as something else', () => {
    expect(yaml({ a: 'yes', b: '5m', c: 'plain words', d: [], e: true })).toBe('a: "yes"\nb: "5m"\nc: plain words\nd: []\ne: true')
  })
  it('picks an alert by its labels', () => {
    const matchers = matchersOf({ alertname: 'A "b", c', service_name: 'api', severity: 'critical' })
    expect(matcherLines(matchers.join(', '))).toEqual(matchers)
  })
})

describe('snippets', () => {
  it('hold the address and the key', () => {
    for (const { text } of snippets('https://m.example', 'k123')) {
      expect(text).toContain('https://m.example')
      expect(text).toContain('k123')
    }
  })
  it.each([
    ['localhost', true],
    ['127.0.0.1', true],
    ['[::1]', true],
    ['m.example.com', false],
  ])('%s is only here: %s', (host, here) => expect(onlyHere(host)).toBe(here))
})
