import { ThemeSwitch, applyTheme, readTheme } from '@nexavpn/ui';
import { cleanup, fireEvent, render, screen } from '@testing-library/react';
import { afterEach, expect, test } from 'vitest';

afterEach(() => {
  cleanup();
  localStorage.clear();
  applyTheme('system');
});

test('a chosen theme is in force at once and remembered', () => {
  render(<ThemeSwitch />);
  fireEvent.click(screen.getByRole('radio', { name: 'Dark' }));
  expect(document.documentElement.dataset.theme).toBe('dark');
  expect(readTheme()).toBe('dark');

  fireEvent.click(screen.getByRole('radio', { name: 'As the system' }));
  expect(document.documentElement.dataset.theme).toBeUndefined();
  expect(readTheme()).toBe('system');
});

test('a theme that nobody offers is read as the system’s', () => {
  expect(readTheme({ getItem: () => 'solarized' })).toBe('system');
  expect(readTheme({ getItem: () => null })).toBe('system');
});
