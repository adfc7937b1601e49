/** CodeMirror with Prometheus' own PromQL: completion, colours, mistakes underlined. A chunk of its own. */

import { autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap } from '@codemirror/autocomplete'
import { defaultKeymap, history, historyKeymap } from '@codemirror/commands'
import { bracketMatching, HighlightStyle, indentOnInput, syntaxHighlighting } from '@codemirror/language'
import { EditorState, Prec } from '@codemirror/state'
import { EditorView, keymap, placeholder } from '@codemirror/view'
import { tags } from '@lezer/highlight'
import { PromQLExtension } from '@prometheus-io/codemirror-promql'
import type { PrometheusClient } from '@prometheus-io/codemirror-promql/dist/esm/client/prometheus'
import { labelValues, metadata, series } from '../api/prometheus.ts'
import { quoted } from '../compute/promql.ts'

export interface Editor {
  set(text: string): void
  focus(): void
  destroy(): void
}

interface Options {
  readonly text: string
  readonly label: string
  readonly onChange: (text: string) => void
  readonly onRun: () => void
}

const colours = HighlightStyle.define([
  { tag: tags.keyword, color: 'var(--c3)' },
  { tag: tags.operatorKeyword, color: 'var(--c3)' },
  { tag: tags.modifier, color: 'var(--c3)' },
  { tag: tags.function(tags.variableName), color: 'var(--c1)' },
  { tag: tags.labelName, color: 'var(--c0)' },
  { tag: tags.string, color: 'var(--c2)' },
  { tag: tags.number, color: 'var(--c6)' },
  { tag: tags.comment, color: 'var(--muted)', fontStyle: 'italic' },
  { tag: tags.invalid, color: 'var(--bad)' },
])

const look = EditorView.theme({
  '&': { color: 'var(--text)', fontSize: '13px', backgroundColor: 'transparent' },
  '&.cm-focused': { outline: 'none' },
  '.cm-content': { fontFamily: 'var(--mono)', padding: '5px 0', caretColor: 'var(--text)' },
  '.cm-line': { padding: '0 8px' },
  '.cm-placeholder': { color: 'var(--muted)' },
  '.cm-matchingBracket': { backgroundColor: 'var(--accent-soft) !important' },
  '.cm-tooltip': { background: 'var(--card)', color: 'var(--text)', border: '1px solid var(--line-strong)', borderRadius: '6px' },
  '.cm-tooltip-autocomplete ul li': { fontFamily: 'var(--mono)', padding: '2px 8px' },
  '.cm-tooltip-autocomplete ul li[aria-selected]': { background: 'var(--accent-soft)', color: 'var(--text)' },
  '.cm-completionDetail': { color: 'var(--muted)', marginLeft: '1em' },
  '.cm-completionInfo': { maxWidth: '40ch' },
  '.cm-diagnostic': { fontFamily: 'system-ui, sans-serif', fontSize: '12px' },
})

/** Asks only what this gateway has; Prometheus' own client asks for flags too. */
const client: PrometheusClient = {
  labelNames: async (metric?: string) => (metric ? [...new Set((await series(metric)).flatMap((labels) => Object.keys(labels)))] : []),
  labelValues: async (label: string, metric?: string) => [...(await labelValues(label, metric ? `{__name__=${quoted(metric)}}` : null))],
  metricMetadata: async () => Object.fromEntries(Object.entries(await metadata()).map(([name, about]) => [name, [...about]])),
  series: async (metric: string) => (await series(metric)).map((labels) => new Map(Object.entries(labels))),
  metricNames: async () => [...(await labelValues('__name__', null))],
  flags: async () => ({}),
}

export function edit(host: HTMLElement, options: Options): Editor {
  const promql = new PromQLExtension().setComplete({ remote: client })
  const shadow = host.shadowRoot ?? host.attachShadow({ mode: 'open' })
  const run = Prec.highest(
    keymap.of([
      { key: 'Mod-Enter', run: () => (options.onRun(), true) },
      { key: 'Shift-Enter', run: () => (options.onRun(), true) },
    ]),
  )
  const view = new EditorView({
    // In a shadow root the editor's styles are adopted sheets; in the page they would be inline, which the policy forbids.
    root: shadow,
    parent: shadow,
    state: EditorState.create({
      doc: options.text,
      extensions: [
        run,
        history(),
        bracketMatching(),
        closeBrackets(),
        indentOnInput(),
        autocompletion({ activateOnTyping: true }),
        keymap.of([...closeBracketsKeymap, ...completionKeymap, ...historyKeymap, ...defaultKeymap]),
        syntaxHighlighting(colours),
        look,
        EditorView.lineWrapping,
        EditorView.contentAttributes.of({ 'aria-label': options.label, autocapitalize: 'off', spellcheck: 'false' }),
        placeholder('PromQL, e.g. sum by (service_name) (rate(http_server_request_duration_seconds_count[5m]))'),
        promql.asExtension(),
        EditorView.updateListener.of((update) => update.docChanged && options.onChange(update.state.doc.toString())),
      ],
    }),
  })
  return {
    // Who types is ahead of what the page has been told: setting that again would fight for every letter.
    set: (text) => {
      if (!view.hasFocus && text !== view.state.doc.toString()) view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: text } })
    },
    focus: () => view.focus(),
    destroy: () => view.destroy(),
  }
}
