CREATE TABLE instances (
  id VARCHAR(128) COLLATE "C" NOT NULL,
  beats BIGINT NOT NULL,
  started_at FLOAT NOT NULL,
  marks TEXT NOT NULL,
  PRIMARY KEY (id)
);
