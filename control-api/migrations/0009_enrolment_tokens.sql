-- By which a device is enrolled for a user, once, without signing in on it.
CREATE TABLE enrolment_tokens (
  token_hash bytea PRIMARY KEY CHECK (length(token_hash) = 32),
  user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
  expires_at timestamptz NOT NULL
);
CREATE INDEX enrolment_tokens_user ON enrolment_tokens (user_id);
