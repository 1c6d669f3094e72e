-- An invited user has not set a password yet: nobody knows the one whose hash is there.
ALTER TABLE users ADD COLUMN invited boolean NOT NULL DEFAULT false;

-- By which a user sets a password, once. A new link takes the place of the user's earlier one.
CREATE TABLE password_links (
  user_id uuid PRIMARY KEY REFERENCES users ON DELETE CASCADE,
  token_hash bytea NOT NULL CONSTRAINT password_links_token UNIQUE CHECK (length(token_hash) = 32),
  expires_at timestamptz NOT NULL
);
