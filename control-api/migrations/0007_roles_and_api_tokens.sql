ALTER TABLE users
  DROP CONSTRAINT users_role_check,
  ADD CONSTRAINT users_role_check CHECK (role IN ('owner', 'admin', 'operator', 'auditor', 'user'));

-- What programs authenticate with. Each acts for its user, within its scopes and until its end.
CREATE TABLE api_tokens (
  id uuid PRIMARY KEY,
  token_hash bytea NOT NULL CONSTRAINT api_tokens_token UNIQUE CHECK (length(token_hash) = 32),
  user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
  name text NOT NULL,
  scopes text[] NOT NULL CHECK (cardinality(scopes) > 0),
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz NOT NULL,
  -- At most some minutes old.
  last_used_at timestamptz
);
CREATE UNIQUE INDEX api_tokens_name ON api_tokens (user_id, lower(name));
CREATE INDEX api_tokens_expiry ON api_tokens (expires_at);

ALTER TABLE sessions
  ADD COLUMN address inet CHECK (masklen(address) = CASE family(address) WHEN 4 THEN 32 ELSE 128 END);

ALTER TABLE audit ADD COLUMN actor_token uuid;
