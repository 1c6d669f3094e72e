import type { AnchorHTMLAttributes, ButtonHTMLAttributes } from 'react';

import './Button.css';

/** `primary` once per view at most; `quiet` for actions beside text. */
export type Emphasis = 'primary' | 'secondary' | 'quiet';

interface Look {
  emphasis?: Emphasis;
}

/** A button. Its type is `button`, so that none submits a form by accident. */
export function Button({ emphasis = 'secondary', ...rest }: Look & ButtonHTMLAttributes<HTMLButtonElement>) {
  return <button type="button" {...rest} className={`nx-button nx-button-${emphasis}`} />;
}

/** A link that looks like a button; for going somewhere, never for doing something. */
export function LinkButton({
  emphasis = 'secondary',
  ...rest
}: Look & AnchorHTMLAttributes<HTMLAnchorElement>) {
  return <a {...rest} className={`nx-button nx-button-${emphasis}`} />;
}
