import { useId, useState } from 'react';
import type { ReactNode } from 'react';

import { applyTheme, readTheme, storeTheme, THEMES } from './theme';
import type { Theme } from './theme';
import './ThemeSwitch.css';

const LABELS: Record<Theme, string> = { system: 'As the system', light: 'Light', dark: 'Dark' };

const ICONS: Record<Theme, ReactNode> = {
  system: <path d="M2.5 3.5h11v7.5h-11zM6 13.5h4" />,
  light: (
    <path d="M8 5.2a2.8 2.8 0 1 0 0 5.6 2.8 2.8 0 0 0 0-5.6M8 1.5v1.2M8 13.3v1.2M1.5 8h1.2M13.3 8h1.2M3.4 3.4l.9.9M11.7 11.7l.9.9M12.6 3.4l-.9.9M4.3 11.7l-.9.9" />
  ),
  dark: <path d="M13.3 9.7A5.7 5.7 0 0 1 6.3 2.7a5.7 5.7 0 1 0 7 7" />,
};

/** Three radio buttons: as the system, light, dark. Applies at once and remembers. */
export function ThemeSwitch() {
  const [theme, setTheme] = useState(() => readTheme());
  const name = useId();

  const choose = (next: Theme) => {
    setTheme(next);
    applyTheme(next);
    storeTheme(next);
  };

  return (
    <fieldset className="nx-themes">
      <legend className="nx-visually-hidden">Colours</legend>
      {THEMES.map((each) => (
        <label key={each} title={LABELS[each]}>
          <input type="radio" name={name} checked={each === theme} onChange={() => choose(each)} />
          <svg viewBox="0 0 16 16" aria-hidden="true">
            {ICONS[each]}
          </svg>
          <span className="nx-visually-hidden">{LABELS[each]}</span>
        </label>
      ))}
    </fieldset>
  );
}
