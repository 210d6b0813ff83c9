ALTER TABLE web_passes ADD COLUMN latest_end FLOAT;
ALTER TABLE web_passes ADD COLUMN renewed_at FLOAT;
ALTER TABLE web_passes ADD COLUMN opened_at FLOAT;
ALTER TABLE web_passes ADD COLUMN source TEXT;
ALTER TABLE web_passes ADD COLUMN end_reason TEXT;
ALTER TABLE grants ADD COLUMN permissions TEXT DEFAULT 'enter files' NOT NULL;
UPDATE meta SET value = value + 1 WHERE name = 'policy_version' AND EXISTS (SELECT 1 FROM watch_rules);
INSERT INTO grants (subject, app_pattern, environment_pattern, expires_at, created_at, permissions) SELECT subject, app_pattern, '!' || environment_pattern, expires_at, created_at, 'watch' FROM watch_rules ORDER BY id;
DELETE FROM watch_rules;
CREATE TABLE identities (
  issuer TEXT NOT NULL,
  subject TEXT NOT NULL,
  user_name VARCHAR(64) NOT NULL,
  created_at FLOAT NOT NULL,
  PRIMARY KEY (issuer, subject),
  FOREIGN KEY (user_name) REFERENCES users (name) ON DELETE CASCADE
);
CREATE INDEX identities_by_user ON identities (user_name);
CREATE TABLE provided_groups (
  user_name VARCHAR(64) NOT NULL,
  group_name VARCHAR(64) NOT NULL,
  PRIMARY KEY (user_name, group_name),
  FOREIGN KEY (user_name) REFERENCES users (name) ON DELETE CASCADE
);
CREATE TABLE provider_answers (
  sign_in BLOB NOT NULL,
  provider TEXT NOT NULL,
  issuer TEXT NOT NULL,
  subject TEXT NOT NULL,
  session_id TEXT,
  auth_time FLOAT,
  answered_at FLOAT NOT NULL,
  refresh_token TEXT,
  ask_at FLOAT,
  failures INTEGER NOT NULL,
  PRIMARY KEY (sign_in),
  FOREIGN KEY (sign_in) REFERENCES web_passes (secret_hash) ON DELETE CASCADE
);
CREATE INDEX provider_answers_by_time ON provider_answers (ask_at);
CREATE INDEX provider_answers_by_subject ON provider_answers (issuer, subject);
CREATE TABLE logout_tokens (
  id BLOB NOT NULL,
  expires_at FLOAT NOT NULL,
  PRIMARY KEY (id)
);
