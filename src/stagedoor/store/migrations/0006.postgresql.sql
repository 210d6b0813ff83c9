ALTER TABLE visits ADD COLUMN share VARCHAR(16) COLLATE "C";
CREATE TABLE policy_changes (
  version INTEGER NOT NULL,
  part VARCHAR(16) NOT NULL,
  name VARCHAR(128) COLLATE "C" NOT NULL,
  PRIMARY KEY (version, part, name)
);
