/** Requests to the gateway that served this page, and to no other host. */

import { signal } from '@preact/signals'

/** The gateway wants to know who asks: the page shows the way in. */
export const locked = signal(false)

export class ApiError extends Error {
  readonly status: number
  readonly code: string
  readonly field: string | undefined

  constructor(status: number, code: string, message: string, field?: string) {
    super(message)
    this.status = status
    this.code = code
    this.field = field
  }

  /** Nothing is at that address: this gateway does not have the part, or has it switched off. */
  get absent(): boolean {
    return this.status === 404 || this.status === 405 || this.status === 501
  }
}

export type Query = Record<string, string | number | boolean | readonly string[] | null | undefined>

export function address(path: string, query: Query = {}): string {
  const found = new URLSearchParams()
  for (const [key, value] of Object.entries(query)) {
    if (value === null || value === undefined || value === '') continue
    if (typeof value === 'object') for (const one of value) found.append(key, one)
    else found.set(key, String(value))
  }
  const text = found.toString()
  // Relative, so that a proxy may serve the page below a path of its own.
  return `./${path}${text && `?${text}`}`
}

export async function get<T>(path: string, query?: Query, abort?: AbortSignal): Promise<T> {
  return (await asked('GET', address(path, query), undefined, abort)) as T
}

export async function send<T>(method: 'POST' | 'PUT' | 'PATCH' | 'DELETE', path: string, body?: unknown): Promise<T> {
  return (await asked(method, address(path), body)) as T
}

async function asked(method: string, url: string, body?: unknown, abort?: AbortSignal): Promise<unknown> {
  const response = await answered(url, {
    method,
    ...(abort && { signal: abort }),
    ...(body !== undefined && { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
  })
  const text = await response.text()
  if (response.ok) return text ? json(text) : null
  throw refused(response, text)
}

async function answered(url: string, request: RequestInit): Promise<Response> {
  try {
    return await fetch(url, request)
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error
    throw new ApiError(0, 'unreachable', 'The gateway does not answer.')
  }
}

function refused(response: Response, text: string): ApiError {
  const told = json(text) as Partial<Record<string, string>> | null
  if (response.status === 401) locked.value = true
  const code = told?.['code'] ?? told?.['errorType'] ?? String(response.status)
  const message = told?.['message'] ?? told?.['error'] ?? (text.slice(0, 300) || `HTTP ${response.status}`)
  return new ApiError(response.status, code, message, told?.['field'])
}

function json(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}
