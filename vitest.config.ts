import { defineConfig } from 'vitest/config';

const pages = ['admin-web', 'desktop-client'].map((name) => ({
  extends: `${name}/vite.config.ts`,
  root: name,
  test: { name, include: ['test/**/*.test.{ts,tsx}'], environment: 'jsdom' },
}));

export default defineConfig({
  test: {
    projects: [
      ...pages,
      { test: { name: 'built', include: ['admin-web/test/**/*.built.ts'], environment: 'node' } },
    ],
  },
});
