-- The sum of what several gateways report may exceed a bigint, where one of them reports nonsense.
CREATE OR REPLACE VIEW device_details AS
SELECT d.id, d.user_id, d.name, d.public_key, d.v4, d.v6, d.disabled, d.expires_at, d.created_at,
       u.username, u.disabled AS user_disabled,
       (SELECT max(r.last_handshake_at) FROM device_reports r WHERE r.device_id = d.id) AS last_handshake_at,
       (SELECT LEAST(COALESCE(sum(r.received_bytes), 0), 9223372036854775807)::bigint
        FROM device_reports r WHERE r.device_id = d.id) AS received_bytes,
       (SELECT LEAST(COALESCE(sum(r.sent_bytes), 0), 9223372036854775807)::bigint
        FROM device_reports r WHERE r.device_id = d.id) AS sent_bytes
FROM devices d JOIN users u ON u.id = d.user_id;
