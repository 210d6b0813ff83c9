CREATE TABLE runs (
  id VARCHAR(16) NOT NULL,
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
  size INTEGER NOT NULL,
  log BLOB,
  PRIMARY KEY (id),
  UNIQUE (lock_key)
);
