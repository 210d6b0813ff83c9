CREATE TABLE roles (
  id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  subject VARCHAR(80) NOT NULL,
  role VARCHAR(16) NOT NULL,
  app_pattern VARCHAR(128) NOT NULL,
  environment_pattern VARCHAR(128) NOT NULL,
  expires_at FLOAT,
  created_at FLOAT NOT NULL
);
CREATE TABLE api_answers (
  key VARCHAR(64) NOT NULL,
  request BLOB NOT NULL,
  at FLOAT NOT NULL,
  status INTEGER,
  body BLOB,
  PRIMARY KEY (key)
);
