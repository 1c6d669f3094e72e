/** The shared kit: what both the console and the desktop window are made of. Knows no API and no routes. */
export { Button, LinkButton } from './Button';
export type { Emphasis } from './Button';
export { Card } from './Card';
export { CopyLine } from './CopyLine';
export { Logo } from './Logo';
export { Status } from './Status';
export type { Tone } from './Status';
export { ThemeSwitch } from './ThemeSwitch';
export { applyTheme, readTheme, storeTheme, THEMES } from './theme';
export type { Theme } from './theme';
