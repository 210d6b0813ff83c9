ALTER TABLE meta ALTER COLUMN value TYPE BIGINT;
ALTER TABLE policy_changes ALTER COLUMN version TYPE BIGINT;
ALTER TABLE users ADD COLUMN sign_in_again_at FLOAT;
ALTER TABLE users ADD COLUMN disabled_at FLOAT;
ALTER TABLE web_passes ADD COLUMN stepped_up_at FLOAT;
CREATE TABLE passkeys (
  id VARCHAR(32) COLLATE "C" NOT NULL,
  user_name VARCHAR(64) COLLATE "C" NOT NULL,
  name TEXT NOT NULL,
  rp_id TEXT NOT NULL,
  credential BYTEA NOT NULL,
  sign_count BIGINT NOT NULL,
  created_at FLOAT NOT NULL,
  used_at FLOAT,
  PRIMARY KEY (id),
  FOREIGN KEY (user_name) REFERENCES users (name) ON DELETE CASCADE
);
CREATE INDEX passkeys_by_user ON passkeys (user_name);
CREATE TABLE passkey_challenges (
  challenge_hash BYTEA NOT NULL,
  purpose VARCHAR(16) NOT NULL,
  user_name VARCHAR(64) COLLATE "C",
  sign_in BYTEA,
  step_up VARCHAR(32) COLLATE "C",
  expires_at FLOAT NOT NULL,
  PRIMARY KEY (challenge_hash)
);
CREATE INDEX passkey_challenges_by_expiry ON passkey_challenges (expires_at);
CREATE TABLE step_ups (
  id VARCHAR(32) COLLATE "C" NOT NULL,
  sign_in BYTEA NOT NULL,
  user_name VARCHAR(64) COLLATE "C" NOT NULL,
  target TEXT NOT NULL,
  label TEXT NOT NULL,
  source TEXT NOT NULL,
  letters_hash BYTEA NOT NULL,
  created_at FLOAT NOT NULL,
  ends_at FLOAT NOT NULL,
  tries_left INTEGER NOT NULL,
  PRIMARY KEY (id),
  FOREIGN KEY (sign_in) REFERENCES web_passes (secret_hash) ON DELETE CASCADE
);
CREATE INDEX step_ups_by_sign_in ON step_ups (sign_in);
