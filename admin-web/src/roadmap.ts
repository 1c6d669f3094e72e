/** A part of NexaVPN and whether it exists yet. Kept in step with the README's diagrams. */
export interface Part {
  name: string;
  built: boolean;
  what: string;
}

/** Built ones first, in the order in which a packet or a change meets them. */
export const PARTS: readonly Part[] = [
  {
    name: 'Control API',
    built: true,
    what: 'Users, groups, devices, resources, rules, gateways and audit, over PostgreSQL.',
  },
  {
    name: 'Policy compiler',
    built: true,
    what: 'Turns rules into lookup tables, evaluates them and says which rule decided.',
  },
  {
    name: 'Gateway',
    built: true,
    what: 'Ends WireGuard tunnels, loads the policy, keeps the last good one on disk.',
  },
  {
    name: 'eBPF programs',
    built: true,
    what: 'Decide every packet on wg0, before netfilter; count per device and per reason.',
  },
  {
    name: 'Lab',
    built: true,
    what: 'A whole network in namespaces, with WireGuard clients that are not ours.',
  },
  {
    name: 'This console',
    built: false,
    what: 'Bootstrap, users, policies, live traffic, “why was this blocked?”.',
  },
  {
    name: 'User portal',
    built: false,
    what: 'Enrol a device with a key made in the browser, see what it may reach.',
  },
  {
    name: 'Desktop app',
    built: false,
    what: 'Sign in and connect; a window without privileges, a service with few.',
  },
  { name: 'VPN DNS', built: false, what: 'Internal names, answered per device.' },
  { name: 'Access proxy', built: false, what: 'Services by name, admitted by SNI or Host, TLS untouched.' },
  {
    name: 'Packages',
    built: false,
    what: 'Debian packages, containers, systemd units, ingress, dashboards.',
  },
];
