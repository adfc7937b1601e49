/** What to paste where, with the address and the key that this page was reached by. */

export interface Snippet {
  readonly title: string
  readonly note: string
  readonly text: string
}

/** `origin` takes OTLP/HTTP too, so it is right behind a proxy as well; `key` is empty where none is asked for. */
export function snippets(origin: string, key: string): Snippet[] {
  const headers = key ? `\nexport OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20${key}"` : ''
  return [
    {
      title: 'Python, without touching the code',
      note: 'Metrics, traces and logs of Flask, FastAPI, Django, requests, SQL and more.',
      text: `pip install "mirubato-monitoring[otlp]" opentelemetry-distro
opentelemetry-bootstrap -a install
export OTEL_SERVICE_NAME=my-service
export OTEL_EXPORTER_OTLP_ENDPOINT=${origin}
export OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf${headers}
opentelemetry-instrument python app.py`,
    },
    {
      title: 'Any OpenTelemetry SDK or Collector',
      note: 'Node, Go, Java, .NET, Ruby …: the variables are the same everywhere.',
      text: `export OTEL_SERVICE_NAME=my-service
export OTEL_EXPORTER_OTLP_ENDPOINT=${origin}
export OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf${headers}`,
    },
    {
      title: 'Cloudflare Workers',
      note: 'In the dashboard: Workers → Observability → Add destination, one for traces and one for logs; then name them in wrangler.jsonc.',
      text: `Traces endpoint   ${origin}/v1/traces
Logs endpoint     ${origin}/v1/logs
Custom header     ${key ? `Authorization: Bearer ${key}` : 'none needed'}

"observability": {
  "traces": { "enabled": true, "destinations": ["mirubato-traces"] },
  "logs":   { "enabled": true, "destinations": ["mirubato-logs"] }
}`,
    },
  ]
}

/** An address that only this machine reaches is of no use to a Worker. */
export function onlyHere(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || hostname.startsWith('127.') || hostname.endsWith('.localhost')
}
