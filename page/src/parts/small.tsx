/** Small parts that many screens show. */

import type { ComponentChildren } from 'preact'
import { useState } from 'preact/hooks'
import { interval, percent } from '../compute/format.ts'

export function Card(properties: {
  title: ComponentChildren
  actions?: ComponentChildren
  children: ComponentChildren
  class?: string
  busy?: boolean
}) {
  return (
    <section class={`card ${properties.class ?? ''}`} aria-busy={properties.busy ?? false}>
      <header>
        <h2>{properties.title}</h2>
        {properties.actions && <div class="actions">{properties.actions}</div>}
      </header>
      {properties.children}
    </section>
  )
}

export function Badge({ tone = 'plain', children }: { tone?: string; children: ComponentChildren }) {
  return <span class={`badge ${tone}`}>{children}</span>
}

/** How bad an alert is, as a tone. */
export function severityTone(severity: string | undefined): string {
  return { critical: 'bad', page: 'bad', error: 'bad', warning: 'warn', info: 'plain' }[severity ?? ''] ?? 'warn'
}

/** How bad a share of failed requests is, as a tone. */
export function errorTone(rate: number | null | undefined): string {
  if (!rate) return ''
  return rate >= 0.05 ? 'bad' : rate >= 0.01 ? 'warn' : ''
}

export function Copy({ text, label = 'Copy' }: { text: string; label?: string }) {
  const [done, setDone] = useState(false)
  const copy = async (): Promise<void> => {
    await copied(text)
    setDone(true)
    setTimeout(() => setDone(false), 1500)
  }
  return (
    <button type="button" class="quiet copy" onClick={copy} aria-live="polite">
      {done ? 'Copied' : label}
    </button>
  )
}

async function copied(text: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text)
  } catch {
    // Without https there is no clipboard but this old way.
    const area = document.createElement('textarea')
    area.value = text
    document.body.append(area)
    area.select()
    document.execCommand('copy')
    area.remove()
  }
}

export function Stat(properties: { label: string; value: ComponentChildren; note?: ComponentChildren; tone?: string; link?: string }) {
  const inside = (
    <>
      <span class="label">{properties.label}</span>
      <span class={`value ${properties.tone ?? ''}`}>{properties.value}</span>
      <span class="note">{properties.note ?? ' '}</span>
    </>
  )
  return properties.link ? (
    <a class="stat" href={properties.link}>
      {inside}
    </a>
  ) : (
    <div class="stat">{inside}</div>
  )
}

/** An error rate with the interval it is known within, as a number and as a whisker on a scale of its own. */
export function ErrorRate({ rate, low, high }: { rate: number | null; low: number | null; high: number | null }) {
  const within = interval(low, high)
  return (
    <span class={`error-rate ${errorTone(rate)}`} title={within ? `95 % certain within ${within}` : 'counted, not estimated'}>
      {percent(rate)}
      {within && <small>{within}</small>}
    </span>
  )
}

export function Tabs({ tabs, current }: { tabs: readonly { name: string; link: string; count?: number | undefined }[]; current: string }) {
  return (
    <nav class="tabs" aria-label="Parts of this screen">
      {tabs.map((tab) => (
        <a key={tab.name} href={tab.link} aria-current={tab.name === current ? 'page' : undefined}>
          {tab.name}
          {tab.count ? <span class="count">{tab.count}</span> : null}
        </a>
      ))}
    </nav>
  )
}

/** A line without axes, and the share of errors as a second one in red. */
export function Spark({ values, errors, label }: {
  values: readonly (number | null)[]
  errors?: readonly (number | null)[]
  label: string
}) {
  const width = 120
  const height = 26
  const most = Math.max(1e-9, ...values.map((value) => value ?? 0))
  return (
    <svg class="spark" viewBox={`0 0 ${width} ${height}`} preserveAspectRatio="none" role="img" aria-label={label}>
      <path class="area" d={path(values, most, width, height, true)} />
      <path class="line" d={path(values, most, width, height, false)} />
      {errors?.map((rate, index) =>
        rate ? (
          <rect
            key={index}
            class="error"
            x={(index / errors.length) * width}
            y={height - Math.max(2, Math.min(1, rate * 4) * height)}
            width={Math.max(1.5, width / errors.length - 0.6)}
            height={Math.max(2, Math.min(1, rate * 4) * height)}
          />
        ) : null,
      )}
    </svg>
  )
}

/** The path of a line that is broken where nothing is known. */
export function path(values: readonly (number | null)[], most: number, width: number, height: number, closed: boolean): string {
  let text = ''
  let begun: number | null = null
  const x = (index: number): string => ((index / Math.max(1, values.length - 1)) * width).toFixed(1)
  const end = (index: number): string => (closed ? `L${x(index)} ${height}L${x(begun ?? 0)} ${height}Z` : '')
  values.forEach((value, index) => {
    if (value === null) {
      if (begun !== null) text += end(index - 1)
      begun = null
      return
    }
    const y = (height - 1 - (value / most) * (height - 3)).toFixed(1)
    text += `${begun === null ? 'M' : 'L'}${x(index)} ${y}`
    begun ??= index
  })
  return begun === null ? text : text + end(values.length - 1)
}
