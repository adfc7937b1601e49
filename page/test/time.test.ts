import { describe, expect, it } from 'vitest'
import { bounds, duration, durationText, HOUR, moment, moved, rangeOf, rangeParameters, stepFor, zoomed } from '../src/compute/time.ts'

const now = 1_764_000_000_000

describe('durations', () => {
  it.each([
    ['5m', 300_000],
    ['1h30m', 5_400_000],
    ['250ms', 250],
    ['7d', 604_800_000],
  ])('%s', (text, ms) => {
    expect(duration(text)).toBe(ms)
    expect(duration(durationText(ms))).toBe(ms)
  })
  it.each(['', '5', 'm5', '1 h', '-5m', '5m!'])('%j is none', (text) => expect(duration(text)).toBeNull())
})

describe('moments', () => {
  it('takes seconds, milliseconds and dates', () => {
    expect(moment('1764000000')).toBe(now)
    expect(moment('1764000000000')).toBe(now)
    expect(moment('2025-11-24T16:00:00Z')).toBe(now)
    expect(moment('yesterday')).toBeNull()
  })
})

describe('ranges in the URL', () => {
  it('is an hour unless said', () => expect(rangeOf(new URLSearchParams())).toEqual({ last: HOUR }))
  it('survives the way through the URL', () => {
    for (const range of [{ last: HOUR }, { last: 90_000 }, { start: now - 5000, end: now }])
      expect(rangeOf(new URLSearchParams(rangeParameters(range)))).toEqual(range)
  })
  it.each(['start=nonsense', 'start=1764000000', 'start=1764000000&end=1', 'start=0s'])('%s is the default', (text) =>
    expect(rangeOf(new URLSearchParams(text))).toEqual({ last: HOUR }))
})

describe('moving', () => {
  it('goes back by half, and forth to now again', () => {
    const back = moved({ last: HOUR }, -0.5, now)
    expect(bounds(back, now)).toEqual({ start: now - 1.5 * HOUR, end: now - 0.5 * HOUR })
    expect(moved(back, 0.5, now)).toEqual({ last: HOUR })
  })
  it('zooms about the middle', () => {
    expect(zoomed({ last: HOUR }, 2)).toEqual({ last: 2 * HOUR })
    expect(zoomed({ start: 0, end: 4 * HOUR }, 0.5)).toEqual({ start: HOUR, end: 3 * HOUR })
  })
})

describe('steps', () => {
  it('grows with the range and never asks for thousands of points', () => {
    let before = 0
    for (const span of [300_000, HOUR, 6 * HOUR, 24 * HOUR, 7 * 24 * HOUR, 365 * 24 * HOUR]) {
      const step = stepFor(span, 900)
      expect(step).toBeGreaterThanOrEqual(before)
      expect(span / 1000 / step).toBeLessThanOrEqual(400)
      before = step
    }
  })
})
