-- A resource is prefixes, devices, or both. What it names cannot be removed under it: these foreign keys restrict.
ALTER TABLE resources DROP CONSTRAINT resources_cidrs_check;
CREATE TABLE resource_devices (
  resource_id uuid NOT NULL REFERENCES resources ON DELETE CASCADE,
  position integer NOT NULL,
  kind text NOT NULL CHECK (kind IN ('everyone', 'group', 'user', 'device')),
  group_id uuid CONSTRAINT resource_devices_group REFERENCES groups,
  user_id uuid CONSTRAINT resource_devices_user REFERENCES users,
  device_id uuid CONSTRAINT resource_devices_device REFERENCES devices,
  PRIMARY KEY (resource_id, position),
  CHECK ((group_id IS NOT NULL) = (kind = 'group')),
  CHECK ((user_id IS NOT NULL) = (kind = 'user')),
  CHECK ((device_id IS NOT NULL) = (kind = 'device'))
);
CREATE INDEX resource_devices_by_group ON resource_devices (group_id) WHERE group_id IS NOT NULL;
CREATE INDEX resource_devices_by_user ON resource_devices (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX resource_devices_by_device ON resource_devices (device_id) WHERE device_id IS NOT NULL;

-- A resource with the devices that it is, in the shape of nexa-wire.
CREATE VIEW resource_details AS
SELECT r.id, r.name, r.cidrs, r.traffic, r.created_at,
       (SELECT COALESCE(jsonb_agg(jsonb_strip_nulls(jsonb_build_object('kind', d.kind, 'id',
                 COALESCE(d.group_id, d.user_id, d.device_id))) ORDER BY d.position), '[]')
        FROM resource_devices d WHERE d.resource_id = r.id) AS devices
FROM resources r;
