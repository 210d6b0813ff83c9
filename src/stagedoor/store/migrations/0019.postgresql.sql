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
