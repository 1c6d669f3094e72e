/** The reader's choice; `system` follows the operating system. */
export type Theme = 'system' | 'light' | 'dark';

/** In the order in which they are offered. */
export const THEMES: readonly Theme[] = ['system', 'light', 'dark'];

const KEY = 'nexavpn.theme';

/** The stored choice; anything unknown, and a browser that keeps nothing, is `system`. */
export function readTheme(storage: Pick<Storage, 'getItem'> | undefined = browserStorage()): Theme {
  const stored = storage?.getItem(KEY);
  return THEMES.find((theme) => theme === stored) ?? 'system';
}

/** Keeps the choice for the next visit, where the browser allows it. */
export function storeTheme(theme: Theme, storage: Pick<Storage, 'setItem'> | undefined = browserStorage()) {
  storage?.setItem(KEY, theme);
}

/** Puts the choice in force. Called before the first render, so that no page flashes in the other scheme. */
export function applyTheme(theme: Theme, root: HTMLElement = document.documentElement) {
  if (theme === 'system') delete root.dataset.theme;
  else root.dataset.theme = theme;
}

// Reading `localStorage` itself throws where site data is blocked.
function browserStorage(): Storage | undefined {
  try {
    return window.localStorage;
  } catch {
    return undefined;
  }
}
