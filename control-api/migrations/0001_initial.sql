-- Merged migrations never change; a later one expands, migrates, contracts.

-- The one network of this installation. Its row is also the lock under which everything that gateways see is
-- changed, so revisions commit in order.
CREATE TABLE network (
  singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
  pool_v4 cidr NOT NULL CHECK (family(pool_v4) = 4),
  pool_v6 cidr NOT NULL CHECK (family(pool_v6) = 6),
  mtu integer NOT NULL CHECK (mtu BETWEEN 1280 AND 9000),
  revision bigint NOT NULL DEFAULT 1 CHECK (revision > 0)
);
INSERT INTO network (pool_v4, pool_v6, mtu) VALUES ('100.96.0.0/16', 'fd6e:7861::/64', 1420);

CREATE TABLE users (
  id uuid PRIMARY KEY,
  username text NOT NULL CHECK (username <> ''),
  display_name text NOT NULL,
  role text NOT NULL CHECK (role IN ('owner', 'admin', 'user')),
  disabled boolean NOT NULL DEFAULT false,
  password_hash text NOT NULL CHECK (password_hash LIKE '$argon2id$%'),
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX users_username ON users (lower(username));

-- Tokens are 32 random bytes; only their SHA-256 is here.
CREATE TABLE bootstrap_tokens (
  token_hash bytea PRIMARY KEY CHECK (length(token_hash) = 32),
  expires_at timestamptz NOT NULL
);

CREATE TABLE sessions (
  id uuid PRIMARY KEY,
  token_hash bytea NOT NULL CONSTRAINT sessions_token UNIQUE CHECK (length(token_hash) = 32),
  user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz NOT NULL
);
CREATE INDEX sessions_user ON sessions (user_id);
CREATE INDEX sessions_expiry ON sessions (expires_at);

CREATE TABLE groups (
  id uuid PRIMARY KEY,
  name text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX groups_name ON groups (lower(name));

CREATE TABLE group_members (
  group_id uuid NOT NULL REFERENCES groups ON DELETE CASCADE,
  user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
  PRIMARY KEY (group_id, user_id)
);
CREATE INDEX group_members_user ON group_members (user_id);

CREATE TABLE resources (
  id uuid PRIMARY KEY,
  name text NOT NULL,
  cidrs cidr[] NOT NULL CHECK (cardinality(cidrs) > 0),
  traffic jsonb NOT NULL CHECK (jsonb_array_length(traffic) > 0),
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX resources_name ON resources (lower(name));

-- An address is a single one of its family, and unique: so addresses never overlap.
CREATE TABLE devices (
  id uuid PRIMARY KEY,
  user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
  name text NOT NULL,
  public_key bytea NOT NULL CONSTRAINT devices_public_key UNIQUE CHECK (length(public_key) = 32),
  v4 inet NOT NULL CONSTRAINT devices_v4 UNIQUE CHECK (family(v4) = 4 AND masklen(v4) = 32),
  v6 inet NOT NULL CONSTRAINT devices_v6 UNIQUE CHECK (family(v6) = 6 AND masklen(v6) = 128),
  disabled boolean NOT NULL DEFAULT false,
  expires_at timestamptz,
  -- Whether gateways were told of the expiry.
  expiry_announced boolean NOT NULL DEFAULT false,
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX devices_name ON devices (user_id, lower(name));
CREATE INDEX devices_expiry ON devices (expires_at) WHERE expires_at IS NOT NULL AND NOT expiry_announced;

-- Addresses of removed devices rest here, so that nobody inherits what was meant for another.
CREATE TABLE resting_addresses (
  address inet PRIMARY KEY,
  until timestamptz NOT NULL
);

-- What a rule names cannot be removed under it: these foreign keys restrict.
CREATE TABLE rules (
  id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  effect text NOT NULL CHECK (effect IN ('allow', 'deny')),
  enabled boolean NOT NULL DEFAULT true,
  note text NOT NULL DEFAULT '',
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE rule_subjects (
  rule_id integer NOT NULL REFERENCES rules ON DELETE CASCADE,
  position integer NOT NULL,
  kind text NOT NULL CHECK (kind IN ('everyone', 'group', 'user', 'device')),
  group_id uuid CONSTRAINT rule_subjects_group REFERENCES groups,
  user_id uuid CONSTRAINT rule_subjects_user REFERENCES users,
  device_id uuid CONSTRAINT rule_subjects_device REFERENCES devices,
  PRIMARY KEY (rule_id, position),
  CHECK ((group_id IS NOT NULL) = (kind = 'group')),
  CHECK ((user_id IS NOT NULL) = (kind = 'user')),
  CHECK ((device_id IS NOT NULL) = (kind = 'device'))
);
CREATE INDEX rule_subjects_by_group ON rule_subjects (group_id) WHERE group_id IS NOT NULL;
CREATE INDEX rule_subjects_by_user ON rule_subjects (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX rule_subjects_by_device ON rule_subjects (device_id) WHERE device_id IS NOT NULL;
CREATE TABLE rule_targets (
  rule_id integer NOT NULL REFERENCES rules ON DELETE CASCADE,
  position integer NOT NULL,
  resource_id uuid NOT NULL CONSTRAINT rule_targets_resource REFERENCES resources,
  PRIMARY KEY (rule_id, position)
);
CREATE INDEX rule_targets_by_resource ON rule_targets (resource_id);

CREATE TABLE gateways (
  id uuid PRIMARY KEY,
  name text NOT NULL,
  host text NOT NULL,
  port integer NOT NULL CHECK (port BETWEEN 1 AND 65535),
  token_hash bytea NOT NULL CONSTRAINT gateways_token UNIQUE CHECK (length(token_hash) = 32),
  public_key bytea CONSTRAINT gateways_public_key UNIQUE CHECK (length(public_key) = 32),
  version text,
  applied_revision bigint,
  refused_revision bigint,
  refused_reason text,
  -- The live stream, if any; it counts as connected while `last_seen` is recent.
  connection_id uuid,
  last_seen timestamptz,
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX gateways_name ON gateways (lower(name));

-- Figures of a device at a gateway, since that gateway started.
CREATE TABLE device_reports (
  device_id uuid NOT NULL REFERENCES devices ON DELETE CASCADE,
  gateway_id uuid NOT NULL REFERENCES gateways ON DELETE CASCADE,
  last_handshake_at timestamptz,
  received_bytes bigint NOT NULL CHECK (received_bytes >= 0),
  sent_bytes bigint NOT NULL CHECK (sent_bytes >= 0),
  reported_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (device_id, gateway_id)
);

-- One row per change, written in the change's transaction. No foreign keys: it outlives what it tells of.
CREATE TABLE audit (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT now(),
  actor_kind text NOT NULL CHECK (actor_kind IN ('user', 'gateway', 'system')),
  actor_id uuid,
  actor_name text NOT NULL,
  action text NOT NULL,
  target_kind text NOT NULL,
  target_id text NOT NULL,
  before jsonb,
  after jsonb
);

-- A device with its owner and what gateways reported of it.
CREATE VIEW device_details AS
SELECT d.id, d.user_id, d.name, d.public_key, d.v4, d.v6, d.disabled, d.expires_at, d.created_at,
       u.username, u.disabled AS user_disabled,
       (SELECT max(r.last_handshake_at) FROM device_reports r WHERE r.device_id = d.id) AS last_handshake_at,
       (SELECT COALESCE(sum(r.received_bytes), 0)::bigint FROM device_reports r WHERE r.device_id = d.id) AS received_bytes,
       (SELECT COALESCE(sum(r.sent_bytes), 0)::bigint FROM device_reports r WHERE r.device_id = d.id) AS sent_bytes
FROM devices d JOIN users u ON u.id = d.user_id;

-- A rule with its subjects and targets, in the shapes of nexa-wire.
CREATE VIEW rule_details AS
SELECT r.id, r.effect, r.enabled, r.note, r.created_at,
       (SELECT COALESCE(jsonb_agg(jsonb_strip_nulls(jsonb_build_object('kind', s.kind, 'id',
                 COALESCE(s.group_id, s.user_id, s.device_id))) ORDER BY s.position), '[]')
        FROM rule_subjects s WHERE s.rule_id = r.id) AS who,
       (SELECT COALESCE(jsonb_agg(jsonb_build_object('kind', 'resource', 'id', t.resource_id) ORDER BY t.position), '[]')
        FROM rule_targets t WHERE t.rule_id = r.id) AS what
FROM rules r;
