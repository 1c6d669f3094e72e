import { act, cleanup, fireEvent, render, screen } from '@testing-library/react';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import { ControlApi } from '../src/ControlApi';
import type { Health } from '../src/health';
import { PROBE_EVERY_MS } from '../src/useHealth';

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  cleanup();
  vi.useRealTimers();
});

/** Runs what is due within `ms`, promises included. */
const pass = (ms: number) => act(() => vi.advanceTimersByTimeAsync(ms));

test('follows the control API from unreachable to reachable by itself', async () => {
  const found: Health[] = [
    { kind: 'unreachable', cause: 'refused' },
    { kind: 'ready', roundTripMs: 3 },
  ];
  const ask = vi.fn(async () => found.shift() ?? expect.fail('asked too often'));
  render(<ControlApi ask={ask} />);
  expect(screen.getByText('Checking')).toBeTruthy();

  await pass(0);
  expect(screen.getByText('Unreachable')).toBeTruthy();

  await pass(PROBE_EVERY_MS);
  expect(screen.getByText('Reachable')).toBeTruthy();
  expect(screen.getByText('3 ms')).toBeTruthy();
});

test('asks nothing while the page is hidden, and at once when it is shown again', async () => {
  const hidden = vi.spyOn(document, 'hidden', 'get').mockReturnValue(true);
  const ask = vi.fn(async (): Promise<Health> => ({ kind: 'ready', roundTripMs: 1 }));
  render(<ControlApi ask={ask} />);
  // Effects run at the end of each `act`, so time passes in steps.
  await pass(0);
  await pass(PROBE_EVERY_MS);
  await pass(PROBE_EVERY_MS);
  expect(ask).toHaveBeenCalledTimes(1);

  hidden.mockReturnValue(false);
  fireEvent(document, new Event('visibilitychange'));
  await pass(0);
  expect(ask).toHaveBeenCalledTimes(2);
  hidden.mockRestore();
});

test('shows the reason that a control API gives as text, never as markup', async () => {
  const detail = '<img src=x onerror=alert(1)>';
  const { container } = render(<ControlApi ask={async () => ({ kind: 'unready', status: 503, detail })} />);
  await pass(0);
  expect(screen.getByText(detail)).toBeTruthy();
  expect(container.querySelector('img')).toBeNull();
});
