-- What gateways report of how they enforce the policy.

CREATE TABLE gateway_health (
  gateway_id uuid PRIMARY KEY REFERENCES gateways ON DELETE CASCADE,
  generation bigint NOT NULL,
  content_hash text,
  drift_entries bigint,
  -- When entries that were not as they should be were last reported.
  drifted_at timestamptz,
  policy_repairs bigint NOT NULL,
  refused_revision bigint,
  refused_reason text,
  -- Drops that the gateway had no room to tell of.
  missed_drops bigint NOT NULL DEFAULT 0,
  reported_at timestamptz NOT NULL DEFAULT now()
);

-- A gateway's counters begin anew at zero when its host starts, and when a rule or device comes back. So what it
-- reported last is kept beside the sum of all differences: what is less than before began anew. What was counted
-- between the last report and the beginning is lost.
CREATE FUNCTION counted_on(total bigint, before bigint, now bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
  SELECT LEAST(total::numeric + CASE WHEN now >= before THEN now - before ELSE now END, 9223372036854775807)::bigint
$$;

CREATE TABLE rule_counters (
  gateway_id uuid NOT NULL REFERENCES gateways ON DELETE CASCADE,
  -- `implicit` is what every device may reach without a rule, `default_deny` what no rule speaks of.
  kind text NOT NULL CHECK (kind IN ('rule', 'implicit', 'default_deny')),
  rule_id integer REFERENCES rules ON DELETE CASCADE,
  packets bigint NOT NULL,
  bytes bigint NOT NULL,
  reported_packets bigint NOT NULL,
  reported_bytes bigint NOT NULL,
  last_hit_at timestamptz,
  CHECK ((rule_id IS NOT NULL) = (kind = 'rule')),
  CONSTRAINT rule_counters_once UNIQUE NULLS NOT DISTINCT (gateway_id, kind, rule_id)
);
CREATE INDEX rule_counters_by_rule ON rule_counters (rule_id) WHERE rule_id IS NOT NULL;

CREATE TABLE device_counters (
  device_id uuid NOT NULL REFERENCES devices ON DELETE CASCADE,
  gateway_id uuid NOT NULL REFERENCES gateways ON DELETE CASCADE,
  received_packets bigint NOT NULL,
  received_bytes bigint NOT NULL,
  sent_packets bigint NOT NULL,
  sent_bytes bigint NOT NULL,
  reported_received_packets bigint NOT NULL,
  reported_received_bytes bigint NOT NULL,
  reported_sent_packets bigint NOT NULL,
  reported_sent_bytes bigint NOT NULL,
  PRIMARY KEY (device_id, gateway_id)
);

-- By the reasons that the gateway has: these bound what it can report of its devices.
CREATE TABLE gateway_drops (
  gateway_id uuid NOT NULL REFERENCES gateways ON DELETE CASCADE,
  reason text NOT NULL,
  direction text NOT NULL CHECK (direction IN ('ingress', 'egress')),
  packets bigint NOT NULL,
  reported_packets bigint NOT NULL,
  PRIMARY KEY (gateway_id, reason, direction)
);

CREATE TABLE device_drops (
  device_id uuid NOT NULL REFERENCES devices ON DELETE CASCADE,
  gateway_id uuid NOT NULL REFERENCES gateways ON DELETE CASCADE,
  reason text NOT NULL,
  packets bigint NOT NULL,
  reported_packets bigint NOT NULL,
  PRIMARY KEY (device_id, gateway_id, reason)
);

-- Packets that were dropped, like ones together. The newest of each gateway stay, for some days: see store/drop.rs.
CREATE TABLE drop_events (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  gateway_id uuid NOT NULL REFERENCES gateways ON DELETE CASCADE,
  device_id uuid REFERENCES devices ON DELETE CASCADE,
  first_at timestamptz NOT NULL,
  last_at timestamptz NOT NULL,
  packets bigint NOT NULL,
  untold_packets bigint NOT NULL,
  direction text NOT NULL CHECK (direction IN ('ingress', 'egress')),
  source inet,
  source_port integer,
  destination inet,
  destination_port integer,
  protocol smallint,
  reason text NOT NULL,
  -- No foreign key: an event outlives the rule that it tells of.
  rule_id integer,
  generation bigint NOT NULL,
  -- As nexa-wire has it.
  nearest jsonb,
  received_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX drop_events_by_gateway ON drop_events (gateway_id, id);
CREATE INDEX drop_events_by_device ON drop_events (device_id, id);
CREATE INDEX drop_events_by_age ON drop_events (received_at);
