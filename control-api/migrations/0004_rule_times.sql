-- When a rule speaks, in the shape of nexa-wire; an empty object is always.
ALTER TABLE rules ADD COLUMN times jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(times) = 'object');

-- A rule with its subjects and targets, in the shapes of nexa-wire.
CREATE OR REPLACE VIEW rule_details AS
SELECT r.id, r.effect, r.enabled, r.note, r.created_at,
       (SELECT COALESCE(jsonb_agg(jsonb_strip_nulls(jsonb_build_object('kind', s.kind, 'id',
                 COALESCE(s.group_id, s.user_id, s.device_id))) ORDER BY s.position), '[]')
        FROM rule_subjects s WHERE s.rule_id = r.id) AS who,
       (SELECT COALESCE(jsonb_agg(jsonb_build_object('kind', 'resource', 'id', t.resource_id) ORDER BY t.position), '[]')
        FROM rule_targets t WHERE t.rule_id = r.id) AS what,
       r.times
FROM rules r;
