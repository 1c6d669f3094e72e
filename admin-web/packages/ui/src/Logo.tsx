import './Logo.css';

/** The mark: two posts of a gate, and the one line that may pass between them; together an N. */
export function Logo({ size = 28 }: { size?: number }) {
  return (
    <svg className="nx-logo" width={size} height={size} viewBox="0 0 32 32" aria-hidden="true">
      <path className="nx-logo-post" d="M7 11.5V27M25 5v15.5" />
      <path className="nx-logo-line" d="M7 5l18 22" />
      <circle className="nx-logo-end" cx="7" cy="5" r="2.6" />
      <circle className="nx-logo-end" cx="25" cy="27" r="2.6" />
    </svg>
  );
}
