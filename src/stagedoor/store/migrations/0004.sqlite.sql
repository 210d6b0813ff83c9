CREATE TABLE watch_rules (
  id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  subject VARCHAR(80) NOT NULL,
  app_pattern VARCHAR(128) NOT NULL,
  environment_pattern VARCHAR(128) NOT NULL,
  expires_at FLOAT,
  created_at FLOAT NOT NULL,
  UNIQUE (subject, app_pattern, environment_pattern)
);

CREATE TABLE shares (
  id VARCHAR(16) NOT NULL,
  secret_hash BLOB NOT NULL,
  user_name VARCHAR(64) NOT NULL,
  method VARCHAR(16) NOT NULL,
  credential_id TEXT,
  scopes TEXT,
  password_mark BLOB,
  target TEXT NOT NULL,
  terminal VARCHAR(64) NOT NULL,
  typing INTEGER NOT NULL,
  expires_at FLOAT NOT NULL,
  PRIMARY KEY (id),
  UNIQUE (secret_hash),
  FOREIGN KEY(user_name) REFERENCES users (name) ON DELETE CASCADE
);
CREATE INDEX shares_by_user ON shares (user_name);

CREATE TABLE visits (
  session VARCHAR(32) NOT NULL,
  target TEXT NOT NULL,
  terminal VARCHAR(64) NOT NULL,
  looks INTEGER NOT NULL,
  PRIMARY KEY (session)
);
