CREATE TABLE request_rules (
  id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
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
  created_at FLOAT NOT NULL
);
CREATE TABLE access_requests (
  id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  user_name VARCHAR(64) NOT NULL,
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
  reviewed_by VARCHAR(64)
);
CREATE INDEX access_requests_by_state ON access_requests (state);
CREATE INDEX access_requests_by_user ON access_requests (user_name);
CREATE TABLE request_decisions (
  request INTEGER NOT NULL,
  approver VARCHAR(64) NOT NULL,
  at FLOAT NOT NULL,
  is_yes INTEGER NOT NULL,
  lasts_s FLOAT,
  note TEXT NOT NULL,
  PRIMARY KEY (request, approver),
  FOREIGN KEY (request) REFERENCES access_requests (id) ON DELETE CASCADE
);
