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
  permissions TEXT DEFAULT 'enter files' NOT NULL,
  PRIMARY KEY (id)
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
CREATE TABLE instances (
  id VARCHAR(128) COLLATE "C" NOT NULL,
  beats BIGINT NOT NULL,
  started_at FLOAT NOT NULL,
  marks TEXT NOT NULL,
  PRIMARY KEY (id)
);
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
  sign_in BYTEA,
  latest_end FLOAT,
  renewed_at FLOAT,
  opened_at FLOAT,
  source TEXT,
  end_reason TEXT,
  key_fingerprint VARCHAR(64) COLLATE "C",
  label TEXT,
  public_key TEXT,
  PRIMARY KEY (secret_hash),
  FOREIGN KEY(user_name) REFERENCES users (name) ON DELETE CASCADE
);
CREATE INDEX web_passes_by_expiry ON web_passes (expires_at);
CREATE INDEX web_passes_by_key ON web_passes (key_fingerprint);
CREATE TABLE shares (
  id VARCHAR(16) COLLATE "C" NOT NULL,
  secret_hash BYTEA NOT NULL,
  user_name VARCHAR(64) COLLATE "C" NOT NULL,
  method VARCHAR(16) NOT NULL,
  credential_id TEXT,
  scopes TEXT,
  password_mark BYTEA,
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
  session VARCHAR(32) COLLATE "C" NOT NULL,
  target TEXT NOT NULL,
  terminal VARCHAR(64) NOT NULL,
  looks INTEGER NOT NULL,
  share VARCHAR(16) COLLATE "C",
  PRIMARY KEY (session)
);
CREATE TABLE policy_changes (
  version INTEGER NOT NULL,
  part VARCHAR(16) NOT NULL,
  name VARCHAR(128) COLLATE "C" NOT NULL,
  PRIMARY KEY (version, part, name)
);
CREATE TABLE identities (
  issuer TEXT NOT NULL,
  subject TEXT NOT NULL,
  user_name VARCHAR(64) COLLATE "C" NOT NULL,
  created_at FLOAT NOT NULL,
  PRIMARY KEY (issuer, subject),
  FOREIGN KEY (user_name) REFERENCES users (name) ON DELETE CASCADE
);
CREATE INDEX identities_by_user ON identities (user_name);
CREATE TABLE provided_groups (
  user_name VARCHAR(64) COLLATE "C" NOT NULL,
  group_name VARCHAR(64) COLLATE "C" NOT NULL,
  PRIMARY KEY (user_name, group_name),
  FOREIGN KEY (user_name) REFERENCES users (name) ON DELETE CASCADE
);
CREATE TABLE provider_answers (
  sign_in BYTEA NOT NULL,
  provider TEXT NOT NULL,
  issuer TEXT NOT NULL,
  subject TEXT NOT NULL,
  session_id TEXT,
  auth_time FLOAT,
  answered_at FLOAT NOT NULL,
  refresh_token TEXT,
  ask_at FLOAT,
  failures INTEGER NOT NULL,
  follows BYTEA,
  PRIMARY KEY (sign_in),
  FOREIGN KEY (sign_in) REFERENCES web_passes (secret_hash) ON DELETE CASCADE
);
CREATE INDEX provider_answers_by_time ON provider_answers (ask_at);
CREATE INDEX provider_answers_by_subject ON provider_answers (issuer, subject);
CREATE TABLE logout_tokens (
  id BYTEA NOT NULL,
  expires_at FLOAT NOT NULL,
  PRIMARY KEY (id)
);
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
CREATE TABLE certified_sign_ins (
  number BIGINT NOT NULL,
  valid_before FLOAT NOT NULL,
  PRIMARY KEY (number)
);
INSERT INTO meta VALUES ('schema_version', 23), ('compatible_version', 11), ('policy_version', 8), ('close_version', 2);
INSERT INTO users VALUES ('alice', '$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$aGFzaA', 1700000000.5), ('bob', NULL, 1700000001.0);
INSERT INTO user_groups VALUES ('alice', 'dev'), ('alice', 'ops');
INSERT INTO tokens VALUES ('t1', 'alice', '\xabababababababababababababababababababababababababababababababab', 'connect:app01', 1900000000.0, 1700000002.0), ('t2', 'bob', '\xcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd', NULL, NULL, 1700000003.0);
INSERT INTO keys VALUES ('SHA256:abc', 'alice', 'ssh-ed25519 AAAA', 'alice@laptop', 1700000004.0);
INSERT INTO grants (subject, app_pattern, environment_pattern, expires_at, created_at) VALUES ('user:alice', 'app*', '*', NULL, 1700000005.0), ('group:dev', 'app01', 'staging', 1900000000.0, 1700000006.0), ('user:bob', 'gone', '*', NULL, 1700000007.0);
DELETE FROM grants WHERE app_pattern = 'gone';
INSERT INTO sessions VALUES ('s1', 1700000010.0, 1700000020.0, 'alice', 'app01.ssh', '10.0.0.1:40000', 'connect', 'one', 'closed', 1099511627776, 20, 1700000020.0, NULL, NULL), ('s2', 1700000030.0, NULL, 'bob', 'app02.ssh', '10.0.0.2:40000', 'ssh', 'one', NULL, 0, 0, NULL, 1700000040.0, 'maintenance');
INSERT INTO audit_events (at, kind, instance, session, identity, target, source, way, reason, fields) VALUES (1700000010.0, 'session.opened', 'one', 's1', 'alice', 'app01.ssh', '10.0.0.1:40000', 'connect', NULL, '{"method":"token"}'), (1700000020.0, 'session.closed', 'one', 's1', 'alice', 'app01.ssh', '10.0.0.1:40000', 'connect', 'closed', '{"sent":1099511627776,"received":20}'), (1700000030.0, 'session.opened', 'one', 's2', 'bob', 'app02.ssh', '10.0.0.2:40000', 'ssh', NULL, '{}');
INSERT INTO instances VALUES ('one', 13, 1700000000.0, '{}');
INSERT INTO web_passes (secret_hash, kind, user_name, method, credential_id, scopes, password_mark, target, expires_at) VALUES ('\x0101010101010101010101010101010101010101010101010101010101010101', 'session', 'alice', 'password', NULL, NULL, '\x0202020202020202020202020202020202020202020202020202020202020202', NULL, 1900000000.0), ('\x0303030303030303030303030303030303030303030303030303030303030303', 'signed-out', 'alice', 'token', 't1', 'connect', NULL, NULL, 1900000000.0);
INSERT INTO grants (subject, app_pattern, environment_pattern, expires_at, created_at, permissions) VALUES ('group:ops', 'app*', '*', NULL, 1700000008.0, 'watch');
INSERT INTO shares VALUES ('aabbccddeeff', '\x0404040404040404040404040404040404040404040404040404040404040404', 'alice', 'password', NULL, NULL, '\x0202020202020202020202020202020202020202020202020202020202020202', 'app01.ssh', 'main', 1, 1900000000.0);
INSERT INTO visits VALUES ('s2', 'app02.ssh', 'main', 0, NULL);
UPDATE web_passes SET sign_in = '\x0101010101010101010101010101010101010101010101010101010101010101' WHERE kind = 'signed-out';
INSERT INTO policy_changes VALUES (8, 'grants', '4');
UPDATE web_passes SET latest_end = 1900000600.0, renewed_at = 1899999000.0 WHERE kind = 'session';
INSERT INTO identities VALUES ('https://id.example', '248289761001', 'alice', 1700000009.0);
INSERT INTO provided_groups VALUES ('alice', 'idp-ops');
INSERT INTO provider_answers VALUES ('\x0101010101010101010101010101010101010101010101010101010101010101', 'Company', 'https://id.example', '248289761001', 'sid1', 1700000000.0, 1700000001.0, 'sealed', 1700000600.0, 0, NULL);
INSERT INTO pending_logins VALUES ('l1', '\x0505050505050505050505050505050505050505050505050505050505050505', 'ssh-ed25519 AAAA', 'SHA256:abc', '\x0606060606060606060606060606060606060606060606060606060606060606', '192.0.2.1', 'laptop', 40000, NULL, 1700000010.0, 1700000190.0, 5, 'waiting', NULL, NULL);
INSERT INTO certified_sign_ins VALUES (9223372036854775807, 1900000000.5);
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
UPDATE web_passes SET stepped_up_at = 1899999500.0 WHERE kind = 'session';
UPDATE users SET sign_in_again_at = 1700000012.0 WHERE name = 'alice';
UPDATE users SET disabled_at = 1700000013.0 WHERE name = 'bob';
INSERT INTO passkeys VALUES ('0123456789abcdef', 'alice', 'laptop', 'shell.example', '\x0707070707070707070707070707070707070707070707070707070707070707', 3, 1700000011.0, NULL);
INSERT INTO passkey_challenges VALUES ('\x0808080808080808080808080808080808080808080808080808080808080808', 'step-up', 'alice', '\x0101010101010101010101010101010101010101010101010101010101010101', NULL, 1700000300.0);
INSERT INTO step_ups VALUES ('u1', '\x0101010101010101010101010101010101010101010101010101010101010101', 'alice', 'app01.production', 'laptop', '192.0.2.1', '\x0606060606060606060606060606060606060606060606060606060606060606', 1700000010.0, 1700000190.0, 5);
ALTER TABLE certified_sign_ins ADD COLUMN user_name VARCHAR(64) COLLATE "C";
UPDATE certified_sign_ins SET user_name = 'alice';
ALTER TABLE provider_answers ADD COLUMN failure TEXT;
ALTER TABLE provider_answers ADD COLUMN failed_at FLOAT;
CREATE TABLE request_rules (
  id SERIAL NOT NULL,
  subject VARCHAR(80) NOT NULL,
  app_pattern VARCHAR(128) NOT NULL,
  environment_pattern VARCHAR(128) NOT NULL,
  permissions TEXT NOT NULL,
  longest_s FLOAT NOT NULL,
  approvers TEXT NOT NULL,
  approvals INTEGER NOT NULL,
  reason_pattern TEXT NOT NULL,
  break_glass INTEGER NOT NULL,
  step_up INTEGER NOT NULL,
  created_at FLOAT NOT NULL,
  PRIMARY KEY (id)
);
CREATE TABLE access_requests (
  id SERIAL NOT NULL,
  user_name VARCHAR(64) COLLATE "C" NOT NULL,
  targets TEXT NOT NULL,
  permissions TEXT NOT NULL,
  rule INTEGER NOT NULL,
  reason TEXT NOT NULL,
  lasts_s FLOAT NOT NULL,
  created_at FLOAT NOT NULL,
  ends_at FLOAT NOT NULL,
  accounts TEXT NOT NULL,
  break_glass INTEGER NOT NULL,
  state VARCHAR(16) NOT NULL,
  began_at FLOAT,
  reviewed_by VARCHAR(64) COLLATE "C",
  PRIMARY KEY (id)
);
CREATE INDEX access_requests_by_state ON access_requests (state);
CREATE INDEX access_requests_by_user ON access_requests (user_name);
CREATE TABLE request_decisions (
  request INTEGER NOT NULL,
  approver VARCHAR(64) COLLATE "C" NOT NULL,
  at FLOAT NOT NULL,
  is_yes INTEGER NOT NULL,
  lasts_s FLOAT,
  note TEXT NOT NULL,
  PRIMARY KEY (request, approver),
  FOREIGN KEY (request) REFERENCES access_requests (id) ON DELETE CASCADE
);
INSERT INTO request_rules VALUES (1, 'group:dev', 'app*', 'production', 'enter files', 7200.0, 'group:ops', 1, '*', 0, 0, 1700000014.0);
INSERT INTO access_requests VALUES (1, 'alice', 'app01.production', 'enter files', 1, 'INC-42', 3600.0, 1700000015.0, 1700000020.0, '', 0, 'approved', 1700000016.0, NULL);
INSERT INTO request_decisions VALUES (1, 'bob', 1700000016.0, 1, NULL, '');
CREATE TABLE runs (
  id VARCHAR(16) COLLATE "C" NOT NULL,
  target TEXT NOT NULL,
  user_name VARCHAR(64) NOT NULL,
  command TEXT NOT NULL,
  state VARCHAR(16) NOT NULL,
  started_at FLOAT NOT NULL,
  timeout_s INTEGER NOT NULL,
  lock_name VARCHAR(64),
  lock_key TEXT,
  ended_at FLOAT,
  code INTEGER,
  detail TEXT NOT NULL,
  size BIGINT NOT NULL,
  log BYTEA,
  PRIMARY KEY (id),
  UNIQUE (lock_key)
);
ALTER TABLE grants ADD COLUMN resume_s FLOAT;
ALTER TABLE users ADD COLUMN language TEXT;
CREATE TABLE roles (
  id SERIAL NOT NULL,
  subject VARCHAR(80) NOT NULL,
  role VARCHAR(16) NOT NULL,
  app_pattern VARCHAR(128) NOT NULL,
  environment_pattern VARCHAR(128) NOT NULL,
  expires_at FLOAT,
  created_at FLOAT NOT NULL,
  PRIMARY KEY (id)
);
CREATE TABLE api_answers (
  key VARCHAR(64) COLLATE "C" NOT NULL,
  request BYTEA NOT NULL,
  at FLOAT NOT NULL,
  status INTEGER,
  body BYTEA,
  PRIMARY KEY (key)
);
ALTER TABLE users ADD COLUMN owner_set VARCHAR(64);
ALTER TABLE users ADD COLUMN owner_file TEXT;
ALTER TABLE user_groups ADD COLUMN owner_set VARCHAR(64);
ALTER TABLE user_groups ADD COLUMN owner_file TEXT;
ALTER TABLE grants ADD COLUMN owner_set VARCHAR(64);
ALTER TABLE grants ADD COLUMN owner_file TEXT;
ALTER TABLE request_rules ADD COLUMN owner_set VARCHAR(64);
ALTER TABLE request_rules ADD COLUMN owner_file TEXT;
ALTER TABLE request_rules ADD COLUMN hours VARCHAR(128);
ALTER TABLE runs ADD COLUMN input BYTEA;
ALTER TABLE runs ADD COLUMN size_name VARCHAR(64);
ALTER TABLE runs ADD COLUMN recording VARCHAR(32);
ALTER TABLE request_rules ADD COLUMN later_approvers TEXT;
ALTER TABLE request_rules ADD COLUMN later_s FLOAT;
ALTER TABLE access_requests ADD COLUMN starts_at FLOAT;
