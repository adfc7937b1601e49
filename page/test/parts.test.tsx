// @vitest-environment happy-dom
import { render } from 'preact'
import { act } from 'preact/test-utils'
import { beforeEach, describe, expect, it } from 'vitest'
import { chosen } from '../src/parts/chart.tsx'
import { searched } from '../src/parts/metric-list.tsx'
import { path } from '../src/parts/small.tsx'
import { Table } from '../src/parts/table.tsx'
import { queryUnit, rowsOf } from '../src/screens/explore.tsx'
import { totals } from '../src/screens/overview.tsx'
import { parsed } from '../src/state/place.ts'
import { pauseFor } from '../src/state/live.ts'

let host: HTMLElement
beforeEach(() => {
  host = document.createElement('div')
})

describe('a table', () => {
  const rows = [{ name: 'b', size: 2 }, { name: 'a', size: 10 }]
  const columns = [
    { key: 'name', label: 'Name', value: (row: (typeof rows)[number]) => row.name },
    { key: 'size', label: 'Size', value: (row: (typeof rows)[number]) => row.size, right: true },
  ]
  const shown = () => [...host.querySelectorAll('tbody tr')].map((row) => row.firstElementChild?.textContent)
  it('sorts by a click, numbers from the top', async () => {
    render(<Table name="Things" columns={columns} rows={rows} id={(row) => row.name} />, host)
    expect(shown()).toEqual(['b', 'a'])
    await act(() => void host.querySelectorAll('th button')[1]?.dispatchEvent(new Event('click')))
    expect(shown()).toEqual(['a', 'b'])
    expect(host.querySelectorAll('th')[1]?.getAttribute('aria-sort')).toBe('descending')
    await act(() => void host.querySelectorAll('th button')[1]?.dispatchEvent(new Event('click')))
    expect(shown()).toEqual(['b', 'a'])
  })
  it('says that it is empty', () => {
    render(<Table name="Things" columns={columns} rows={[]} id={(row) => row.name} empty={<p>None</p>} />, host)
    expect(host.textContent).toBe('None')
  })
})

describe('a legend', () => {
  it('isolates, shows all again, and adds', () => {
    const one = chosen(new Set(), 'a', false)
    expect([...one]).toEqual(['a'])
    expect([...chosen(one, 'a', false)]).toEqual([])
    expect([...chosen(one, 'b', true)]).toEqual(['a', 'b'])
  })
})

describe('a place', () => {
  it('is a screen, what follows it, and parameters', () => {
    const place = parsed('#/service/a%2Fb?start=6h&q=1&q=2')
    expect(place).toMatchObject({ screen: 'service', rest: ['a/b'] })
    expect(place.parameters.getAll('q')).toEqual(['1', '2'])
  })
  it('is the overview unless said, and survives nonsense', () => {
    expect(parsed('').screen).toBe('overview')
    expect(parsed('#/service/%E0%A4%A').rest).toEqual(['%E0%A4%A'])
  })
})

it('asks less often for longer ranges', () => {
  expect(pauseFor(300_000)).toBe(5000)
  expect(pauseFor(3_600_000)).toBe(15_000)
  expect(pauseFor(1e12)).toBe(60_000)
})

it('weighs error rates by requests', () => {
  const service = (rate: number, errors: number) => ({ rate_per_s: rate, error_rate: errors }) as Parameters<typeof totals>[0][number]
  expect(totals([service(9, 0), service(1, 0.5)])).toEqual({ rate: 10, errors: 0.05 })
  expect(totals([])).toEqual({ rate: 0, errors: null })
})

it('breaks a line where nothing is known', () => {
  expect(path([1, null, 1], 1, 100, 10, false)).toBe('M0.0 2.0M100.0 2.0')
  expect(path([null], 1, 100, 10, true)).toBe('')
})

it('finds metrics by words of name and help', () => {
  const metric = (name: string, help: string, series: number) => ({ name, help, series, type: '', unit: '', usd: null, lastUse: null })
  const all = [metric('http_requests_total', 'Requests', 5), metric('queue_depth', 'Waiting messages', 9)]
  expect(searched(all, 'waiting queue', 'name').map((one) => one.name)).toEqual(['queue_depth'])
  expect(searched(all, '', 'series').map((one) => one.name)).toEqual(['queue_depth', 'http_requests_total'])
})

it('makes rows of every kind of result', () => {
  expect(rowsOf({ resultType: 'scalar', result: [1, '5'] })[0]).toMatchObject({ value: 5 })
  expect(rowsOf({ resultType: 'vector', result: [{ metric: { a: 'b' }, value: [1, '+Inf'] }] })[0]?.value).toBe(Number.POSITIVE_INFINITY)
  expect(rowsOf({ resultType: 'vector', result: [{ metric: {}, histogram: [1, { count: '3', sum: '6' }] }] })[0]?.shown).toContain('count 3')
})

it('guesses units by the metric', () => {
  expect(queryUnit('histogram_quantile(0.95, sum by (le) (rate(x_seconds_bucket[5m])))')).toBe('seconds')
  expect(queryUnit('process_memory_bytes')).toBe('bytes')
  expect(queryUnit('sum(rate(a_total[5m])) / sum(rate(b_total[5m]))')).toBe('number')
})
