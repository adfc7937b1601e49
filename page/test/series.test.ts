import { describe, expect, it } from 'vitest'
import { csv } from '../src/compute/csv.ts'
import { classicHeat, nativeHeat } from '../src/compute/heat.ts'
import { columns, seriesName, shortNames, stacked, summary } from '../src/compute/series.ts'
import { compare, sorted } from '../src/compute/sorting.ts'

describe('columns', () => {
  it('puts each sample into its step, and leaves gaps', () => {
    const found = columns([{ metric: { a: 'x' }, values: [[10, '1'], [30, '3'], [40, 'NaN']] }], 10, 40, 10, seriesName)
    expect(found.times).toEqual([10, 20, 30, 40])
    expect(found.lines[0]).toMatchObject({ name: '{a="x"}', values: [1, null, 3, null] })
  })
  it('draws a histogram by its average', () => {
    const histogram = { count: '4', sum: '10' }
    expect(columns([{ metric: {}, histograms: [[10, histogram]] }], 10, 10, 10, seriesName).lines[0]?.values).toEqual([2.5])
  })
  it('does not break on fractions of a second', () => {
    const found = columns([{ metric: {}, values: [[0.3, '1']] }], 0, 0.3, 0.1, seriesName)
    expect(found.times).toHaveLength(4)
    expect(found.lines[0]?.values[3]).toBe(1)
  })
})

describe('names', () => {
  it('keeps only what differs', () => {
    expect(shortNames([{ job: 'a', code: '200' }, { job: 'a', code: '500' }])).toEqual(['200', '500'])
  })
  it('tells one series in full', () => expect(shortNames([{ __name__: 'up', job: 'a' }])).toEqual(['up{job="a"}']))
})

describe('stacks and summaries', () => {
  const line = (values: (number | null)[]) => ({ name: '', labels: {}, values })
  it('adds up', () => expect(stacked([line([1, null]), line([2, 3])]).map((one) => one.values)).toEqual([[1, null], [3, 3]]))
  it('summarises what is known', () => {
    expect(summary([null, 1, 3])).toEqual({ last: 3, min: 1, max: 3, mean: 2 })
    expect(summary([null])).toEqual({ last: null, min: null, max: null, mean: null })
  })
})

describe('heat maps', () => {
  it('takes cumulative buckets apart and drops empty rows', () => {
    const bucket = (le: string, value: string) => ({ metric: { le }, values: [[60, value]] as [number, string][] })
    const heat = classicHeat([bucket('+Inf', '9'), bucket('0.1', '2'), bucket('1', '9'), bucket('0.01', '0')], 60, 120, 60)
    expect(heat).toEqual({ uppers: [0.1, 1], times: [60, 120], counts: [[2, 7], [0, 0]], most: 7 })
  })
  it('is empty without data', () => expect(classicHeat([], 0, 60, 60).most).toBe(0))
  it('puts the buckets of exponential histograms into rows', () => {
    const native = { count: '3', sum: '5', buckets: [[0, '1', '2', '3']] as [number, string, string, string][] }
    expect(nativeHeat([{ metric: {}, histograms: [[60, native]] }], 60, 60, 60)).toMatchObject({ uppers: [2], counts: [[3]], most: 3 })
  })
})

describe('tables', () => {
  it('puts what is missing last, whichever way round', () => {
    expect(sorted([3, null, 1, Number.NaN, 2], (one) => one, false).slice(0, 3)).toEqual([1, 2, 3])
    expect(sorted([3, null, 1, Number.NaN, 2], (one) => one, true).slice(0, 3)).toEqual([3, 2, 1])
  })
  it('knows numbers in words', () => expect(compare('v10', 'v9', false)).toBeGreaterThan(0))
  it('quotes cells, and disarms formulas', () => {
    expect(csv(['a', 'b'], [['x,y', 'say "hi"'], ['=1+1', null], [-5, 'a\nb']])).toBe('a,b\r\n"x,y","say ""hi"""\r\n\'=1+1,\r\n-5,"a\nb"\r\n')
  })
})
