import { defineConfig } from 'vitest/config'

export default defineConfig({
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  // Only what draws needs a document, and says so in its first line.
  test: { environment: 'node', include: ['test/**/*.test.{ts,tsx}'] },
})
