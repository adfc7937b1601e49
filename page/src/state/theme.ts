/** Dark or light: the system's wish until someone chooses. */

import { effect, signal } from '@preact/signals'

export type Theme = 'system' | 'dark' | 'light'

const KEY = 'mirubato.theme'
const system = matchMedia('(prefers-color-scheme: dark)')

function stored(): Theme {
  try {
    const value = localStorage.getItem(KEY)
    return value === 'dark' || value === 'light' ? value : 'system'
  } catch {
    return 'system'
  }
}

export const theme = signal<Theme>(stored())
/** What is shown now; charts, which paint on a canvas, look at it. */
export const dark = signal(system.matches)

function settle(): void {
  dark.value = theme.value === 'system' ? system.matches : theme.value === 'dark'
}

system.addEventListener('change', settle)

effect(() => {
  const chosen = theme.value
  if (chosen === 'system') delete document.documentElement.dataset['theme']
  else document.documentElement.dataset['theme'] = chosen
  try {
    localStorage.setItem(KEY, chosen)
  } catch {
    // the choice lasts as long as the page then
  }
  settle()
})

export function switchTheme(): void {
  theme.value = dark.value ? 'light' : 'dark'
}
