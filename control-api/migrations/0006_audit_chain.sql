-- The audit log is append-only, and a chain: each row's hash covers the row and the hash before it, as
-- src/audit_chain.rs says. Rows from before, and those that a server of an older version writes meanwhile, are
-- chained when a server starts.
ALTER TABLE audit
  ADD COLUMN actor_address inet CHECK (masklen(actor_address) = CASE family(actor_address) WHEN 4 THEN 32 ELSE 128 END),
  -- Counts the chain's rows from 1, without gaps.
  ADD COLUMN position bigint CONSTRAINT audit_position UNIQUE CHECK (position > 0),
  ADD COLUMN hash bytea CHECK (length(hash) = 32),
  ADD CONSTRAINT audit_chained CHECK ((position IS NULL) = (hash IS NULL));
CREATE INDEX audit_unchained ON audit (id) WHERE position IS NULL;

-- The chain's last row. This row is the lock under which the chain grows.
CREATE TABLE audit_head (
  singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
  position bigint NOT NULL DEFAULT 0,
  hash bytea NOT NULL DEFAULT decode(repeat('00', 32), 'hex') CHECK (length(hash) = 32)
);
INSERT INTO audit_head DEFAULT VALUES;

-- A slip of whoever works on the database by hand must not cost the log; against intent there is the chain.
CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'UPDATE' THEN
    IF OLD.position IS NULL
      AND to_jsonb(OLD) - '{position,hash}'::text[] = to_jsonb(NEW) - '{position,hash}'::text[] THEN
      RETURN NEW;
    END IF;
  END IF;
  RAISE EXCEPTION 'the audit log is append-only';
END
$$;
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE ON audit
  FOR EACH ROW EXECUTE FUNCTION audit_is_append_only();
CREATE TRIGGER audit_not_truncated BEFORE TRUNCATE ON audit
  FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();
