import { cleanup, render, screen, within } from '@testing-library/react';
import { afterEach, expect, test, vi } from 'vitest';

import { App } from '../src/App';
import { PARTS } from '../src/roadmap';

afterEach(() => {
  cleanup();
  vi.unstubAllGlobals();
});

test('says that it is not built, and marks each part as built or planned', () => {
  vi.stubGlobal('fetch', () => new Promise(() => {}));
  render(<App />);
  expect(screen.getByRole('heading', { level: 1, name: /not built yet/ })).toBeTruthy();

  const listed = (group: string) =>
    within(screen.getByRole('region', { name: group }))
      .getAllByRole('term')
      .map((term) => term.textContent);
  const named = (built: boolean) => PARTS.filter((part) => part.built === built).map((part) => part.name);
  expect(listed('Built')).toEqual(named(true));
  expect(listed('Planned')).toEqual(named(false));
  expect(listed('Planned')).toContain('This console');
});

test('leads to the documentation of the API', () => {
  vi.stubGlobal('fetch', () => new Promise(() => {}));
  render(<App />);
  expect(screen.getByRole('link', { name: /documentation/ }).getAttribute('href')).toBe('/api/docs');
});
