CREATE TABLE instances (
  id VARCHAR(128) NOT NULL,
  beats INTEGER NOT NULL,
  started_at FLOAT NOT NULL,
  marks TEXT NOT NULL,
  PRIMARY KEY (id)
);
