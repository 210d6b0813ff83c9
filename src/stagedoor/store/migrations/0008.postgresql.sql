ALTER TABLE web_passes ADD COLUMN key_fingerprint VARCHAR(64) COLLATE "C";
ALTER TABLE web_passes ADD COLUMN label TEXT;
CREATE INDEX web_passes_by_key ON web_passes (key_fingerprint);
ALTER TABLE provider_answers ADD COLUMN follows BYTEA;
CREATE TABLE pending_logins (
  id VARCHAR(32) COLLATE "C" NOT NULL,
  challenge BYTEA,
  public_key TEXT NOT NULL,
  fingerprint VARCHAR(64) COLLATE "C" NOT NULL,
  letters_hash BYTEA NOT NULL,
  source TEXT NOT NULL,
  label TEXT NOT NULL,
  port INTEGER,
  wanted_user TEXT,
  created_at FLOAT NOT NULL,
  ends_at FLOAT NOT NULL,
  tries_left INTEGER NOT NULL,
  state VARCHAR(16) NOT NULL,
  sign_in BYTEA,
  code_hash BYTEA,
  PRIMARY KEY (id)
);
CREATE INDEX pending_logins_by_end ON pending_logins (ends_at);
