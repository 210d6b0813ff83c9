CREATE TABLE web_passes (
  secret_hash BYTEA NOT NULL,
  kind VARCHAR(16) NOT NULL,
  user_name VARCHAR(64) COLLATE "C" NOT NULL,
  method VARCHAR(16) NOT NULL,
  credential_id TEXT,
  scopes TEXT,
  password_mark BYTEA,
  target TEXT,
  expires_at FLOAT NOT NULL,
  PRIMARY KEY (secret_hash),
  FOREIGN KEY(user_name) REFERENCES users (name) ON DELETE CASCADE
);
CREATE INDEX web_passes_by_expiry ON web_passes (expires_at);
