/** PromQL of the built-in charts. The families and what counts as failed are the gateway's own (docs/ALERTS.md). */

export interface Family {
  readonly source: string
  readonly name: string
  /** Counter of requests, with its own matchers. */
  readonly count: string
  readonly matchers: readonly string[]
  readonly failed: readonly (readonly string[])[]
  readonly failedCount?: string
  readonly duration: string
  readonly toSeconds: number
  readonly route: string
  readonly status: string
  readonly error: string
  readonly service: string
}

const FAMILIES: readonly Family[] = [
  {
    source: 'http',
    name: 'HTTP metrics',
    count: 'http_server_request_duration_seconds_count',
    matchers: [],
    failed: [['http_response_status_code=~"5.."'], ['error_type!=""']],
    duration: 'http_server_request_duration_seconds',
    toSeconds: 1,
    route: 'http_route',
    status: 'http_response_status_code',
    error: 'error_type',
    service: 'service_name',
  },
  {
    source: 'http_old',
    name: 'HTTP metrics (older names)',
    count: 'http_server_duration_milliseconds_count',
    matchers: [],
    failed: [['http_status_code=~"5.."']],
    duration: 'http_server_duration_milliseconds',
    toSeconds: 0.001,
    route: 'http_target',
    status: 'http_status_code',
    error: 'http_status_code',
    service: 'service_name',
  },
  {
    source: 'spans',
    name: 'spans',
    count: 'traces_span_metrics_calls_total',
    matchers: ['span_kind="SPAN_KIND_SERVER"'],
    failed: [['status_code="STATUS_CODE_ERROR"']],
    duration: 'traces_span_metrics_duration_seconds',
    toSeconds: 1,
    route: 'span_name',
    status: 'status_code',
    error: 'status_code',
    service: 'service_name',
  },
  {
    source: 'worker',
    name: 'Cloudflare Worker',
    count: 'cloudflare_worker_requests_total',
    matchers: [],
    failed: [[]],
    failedCount: 'cloudflare_worker_errors_total',
    duration: 'cloudflare_worker_duration_seconds',
    toSeconds: 1,
    route: 'http_route',
    status: 'outcome',
    error: 'outcome',
    service: 'script_name',
  },
]

export function familyOf(source: string): Family {
  return FAMILIES.find((family) => family.source === source) ?? (FAMILIES[0] as Family)
}

/** A string literal of PromQL. */
export function quoted(text: string): string {
  return `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')}"`
}

export function selector(metric: string, matchers: readonly string[]): string {
  return matchers.length ? `${metric}{${matchers.join(',')}}` : metric
}

/** Questions about requests: of one service, or of all of a family. */
export class Requests {
  private readonly family: Family
  private readonly who: readonly string[]

  constructor(family: Family, service?: string) {
    this.family = family
    this.who = service === undefined ? [] : [`${family.service}=${quoted(service)}`]
  }

  rate(window: string, by: readonly string[] = []): string {
    return `sum${grouping(by)} (rate(${this.all()}[${window}]))`
  }

  errors(window: string, by: readonly string[] = []): string {
    return `sum${grouping(by)} (${this.failures(window)})`
  }

  /** Failed over all. Services without failures are 0, not absent. */
  errorRate(window: string, by: readonly string[] = []): string {
    const all = this.rate(window, by)
    const failed = this.errors(window, by)
    const zero = by.length ? `0 * ${all}` : 'vector(0)'
    return `(${failed} or ${zero}) / ${all}`
  }

  quantile(q: number, window: string, by: readonly string[] = []): string {
    const inner = `sum${grouping([...by, 'le'])} (rate(${this.buckets()}[${window}]))`
    return this.seconds(`histogram_quantile(${q}, ${inner})`)
  }

  /** Of exponential histograms, which have no buckets of their own name. */
  nativeQuantile(q: number, window: string, by: readonly string[] = []): string {
    return this.seconds(`histogram_quantile(${q}, sum${grouping(by)} (rate(${this.durations()}[${window}])))`)
  }

  heat(window: string): string {
    return `sum by (le) (increase(${this.buckets()}[${window}]))`
  }

  nativeHeat(window: string): string {
    return `sum (increase(${this.durations()}[${window}]))`
  }

  topErrors(window: string): string {
    const { route, error, status } = this.family
    const by = [...new Set([route, status, error])]
    return `topk(20, sum${grouping(by)} (${this.increases(window)}) > 0)`
  }

  exemplars(): string {
    return this.buckets()
  }

  private all(): string {
    return selector(this.family.count, [...this.family.matchers, ...this.who])
  }

  private buckets(): string {
    return selector(`${this.family.duration}_bucket`, [...this.family.matchers, ...this.who])
  }

  private durations(): string {
    return selector(this.family.duration, [...this.family.matchers, ...this.who])
  }

  private failures(window: string): string {
    return this.failed((one) => `rate(${one}[${window}])`)
  }

  private increases(window: string): string {
    return this.failed((one) => `increase(${one}[${window}])`)
  }

  private failed(over: (selected: string) => string): string {
    const { count, failed, failedCount, matchers } = this.family
    return failed.map((more) => over(selector(failedCount ?? count, [...matchers, ...more, ...this.who]))).join(' or ')
  }

  private seconds(text: string): string {
    return this.family.toSeconds === 1 ? text : `${this.family.toSeconds} * ${text}`
  }
}

function grouping(by: readonly string[]): string {
  return by.length ? ` by (${by.join(', ')})` : ''
}

/** What to ask of a metric that someone clicked on: a counter's rate, a histogram's quantile, else the value. */
export function firstQuery(metric: string, type: string, labels: readonly string[] = []): string {
  const by = labels.includes('service_name') ? ' by (service_name)' : ''
  if (type === 'counter' || /_(total|count|sum)$/.test(metric)) return `sum${by} (rate(${metric}[5m]))`
  if (metric.endsWith('_bucket')) return `histogram_quantile(0.95, sum${by.replace(')', ', le)') || ' by (le)'} (rate(${metric}[5m])))`
  if (type === 'histogram') return `histogram_quantile(0.95, sum${by} (rate(${metric}[5m])))`
  return metric
}
