import { useId } from 'react';
import type { ReactNode } from 'react';

import './Card.css';

interface CardProps {
  title: string;
  /** Right of the title: a status or one quiet action. */
  aside?: ReactNode;
  children: ReactNode;
}

/** A titled group of content, exposed as a named region. */
export function Card({ title, aside, children }: CardProps) {
  const id = useId();
  return (
    <section className="nx-card" aria-labelledby={id}>
      <header className="nx-card-head">
        <h2 id={id}>{title}</h2>
        {aside}
      </header>
      <div className="nx-card-body">{children}</div>
    </section>
  );
}
