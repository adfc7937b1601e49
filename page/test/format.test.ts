import { describe, expect, it } from 'vitest'
import { ago, bytes, count, formatted, interval, milliseconds, number, percent, unitOf, usd } from '../src/compute/format.ts'

describe('numbers', () => {
  it.each([
    [null, '–'],
    [Number.NaN, '–'],
    [0, '0'],
    [0.000123, '0.00012'],
    [0.5, '0.5'],
    [9.999, '10'],
    [12.34, '12.3'],
    [1234, '1.23k'],
    [-4_560_000, '-4.56M'],
    [Number.POSITIVE_INFINITY, '+∞'],
  ])('%s is %s', (value, text) => expect(number(value)).toBe(text))

  it('says shares as percent, and never rounds a failure away', () => {
    expect(percent(0.0123)).toBe('1.23%')
    expect(percent(0.00001)).toBe('<0.01%')
    expect(percent(0)).toBe('0%')
    expect(percent(undefined)).toBe('–')
  })

  it('leaves an interval out where there is none', () => {
    expect(interval(0.01, 0.01)).toBe('')
    expect(interval(0.01, 0.03)).toBe('1% – 3%')
    expect(interval(null, 0.03)).toBe('')
  })

  it.each([
    [0.00005, '0.05 µs'],
    [0.25, '250 µs'],
    [12, '12 ms'],
    [1840, '1.84 s'],
    [90_000, '1.5 min'],
  ])('%s ms is %s', (value, text) => expect(milliseconds(value)).toBe(text))

  it('counts bytes by 1024', () => expect(bytes(5_079_040)).toBe('4.84 MiB'))
  it('keeps a price below a cent', () => {
    expect(usd(0.0012)).toBe('$0.0012')
    expect(usd(0.00001)).toBe('<$0.0001')
    expect(usd(5)).toBe('$5.00')
  })
  it('separates thousands', () => expect(count(1234567)).toBe('1 234 567'))
  it('knows seconds', () => expect(formatted(0.25, 'seconds')).toBe('250 ms'))
})

describe('time', () => {
  const now = 1_764_000_000_000
  it.each([
    [now, 'now'],
    [now - 12_000, '12 s ago'],
    [now - 3_700_000, '1 h ago'],
    [now + 120_000, 'in 2 min'],
  ])('%s is %s', (at, text) => expect(ago(at, now)).toBe(text))
})

describe('units', () => {
  it.each([
    ['http_server_request_duration_seconds', 'seconds'],
    ['http_server_request_duration_seconds_count', 'number'],
    ['http_server_duration_milliseconds_sum', 'ms'],
    ['process_memory_bytes', 'bytes'],
    ['mirubato_cost_usd', 'usd'],
    ['queue_depth', 'number'],
  ])('%s is in %s', (metric, unit) => expect(unitOf(metric)).toBe(unit))
})
