-- An invited user has not set a password yet: nobody knows the one whose hash is there.
ALTER TABLE users ADD COLUMN invited boolean NOT NULL DEFAULT false;

-- Each lets somebody act for a user, once, without signing in.
CREATE TABLE one_time_tokens (
  token_hash bytea PRIMARY KEY CHECK (length(token_hash) = 32),
  purpose text NOT NULL CHECK (purpose IN ('set_password', 'enrol_device')),
  user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
  expires_at timestamptz NOT NULL
);
CREATE INDEX one_time_tokens_user ON one_time_tokens (user_id, purpose);
CREATE INDEX one_time_tokens_expiry ON one_time_tokens (expires_at);
