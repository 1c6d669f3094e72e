import { cleanup, render, screen } from '@testing-library/react';
import { afterEach, expect, test } from 'vitest';

import { App, STEPS } from '../src/App';

afterEach(cleanup);

test('the window says that it cannot connect and offers no button that would', () => {
  render(<App />);
  expect(screen.getByRole('heading', { name: /cannot connect/ })).toBeTruthy();
  expect(screen.queryByRole('button')).toBeNull();
  expect(screen.getAllByRole('listitem').map((item) => item.textContent)).toEqual([...STEPS]);
});
