CREATE TABLE meta (
  name VARCHAR(64) COLLATE "C" NOT NULL,
  value INTEGER NOT NULL,
  PRIMARY KEY (name)
);

CREATE TABLE users (
  name VARCHAR(64) COLLATE "C" NOT NULL,
  password_hash TEXT,
  created_at FLOAT NOT NULL,
  PRIMARY KEY (name)
);

CREATE TABLE user_groups (
  user_name VARCHAR(64) COLLATE "C" NOT NULL,
  group_name VARCHAR(64) COLLATE "C" NOT NULL,
  PRIMARY KEY (user_name, group_name),
  FOREIGN KEY(user_name) REFERENCES users (name) ON DELETE CASCADE
);

CREATE TABLE tokens (
  id VARCHAR(32) COLLATE "C" NOT NULL,
  user_name VARCHAR(64) COLLATE "C" NOT NULL,
  secret_hash BYTEA NOT NULL,
  scopes TEXT,
  expires_at FLOAT,
  created_at FLOAT NOT NULL,
  PRIMARY KEY (id),
  FOREIGN KEY(user_name) REFERENCES users (name) ON DELETE CASCADE,
  UNIQUE (secret_hash)
);
CREATE INDEX tokens_by_user ON tokens (user_name);

CREATE TABLE keys (
  fingerprint VARCHAR(64) COLLATE "C" NOT NULL,
  user_name VARCHAR(64) COLLATE "C" NOT NULL,
  public_key TEXT NOT NULL,
  comment TEXT NOT NULL,
  created_at FLOAT NOT NULL,
  PRIMARY KEY (fingerprint),
  FOREIGN KEY(user_name) REFERENCES users (name) ON DELETE CASCADE
);
CREATE INDEX keys_by_user ON keys (user_name);

CREATE TABLE grants (
  id SERIAL NOT NULL,
  subject VARCHAR(80) NOT NULL,
  app_pattern VARCHAR(128) NOT NULL,
  environment_pattern VARCHAR(128) NOT NULL,
  expires_at FLOAT,
  created_at FLOAT NOT NULL,
  PRIMARY KEY (id),
  UNIQUE (subject, app_pattern, environment_pattern)
);

CREATE TABLE sessions (
  id VARCHAR(32) COLLATE "C" NOT NULL,
  opened_at FLOAT NOT NULL,
  closed_at FLOAT,
  identity TEXT NOT NULL,
  target TEXT NOT NULL,
  source TEXT NOT NULL,
  way VARCHAR(16) NOT NULL,
  instance VARCHAR(128) COLLATE "C" NOT NULL,
  "end" VARCHAR(32),
  sent BIGINT NOT NULL,
  received BIGINT NOT NULL,
  last_active_at FLOAT,
  close_requested_at FLOAT,
  close_reason TEXT,
  PRIMARY KEY (id)
);
CREATE INDEX sessions_open ON sessions (instance) WHERE closed_at IS NULL;

CREATE TABLE audit_events (
  seq BIGSERIAL NOT NULL,
  at FLOAT NOT NULL,
  kind VARCHAR(32) NOT NULL,
  instance VARCHAR(128) COLLATE "C" NOT NULL,
  session VARCHAR(32) COLLATE "C",
  identity TEXT,
  target TEXT,
  source TEXT,
  way VARCHAR(16),
  reason VARCHAR(64),
  fields TEXT NOT NULL,
  PRIMARY KEY (seq)
);
CREATE INDEX audit_events_by_session ON audit_events (session);

INSERT INTO meta (name, value) VALUES ('schema_version', 0), ('compatible_version', 1), ('policy_version', 0), ('close_version', 0);
