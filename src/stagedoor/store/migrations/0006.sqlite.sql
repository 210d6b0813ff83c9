ALTER TABLE visits ADD COLUMN share VARCHAR(16);
CREATE TABLE policy_changes (
  version INTEGER NOT NULL,
  part VARCHAR(16) NOT NULL,
  name VARCHAR(128) NOT NULL,
  PRIMARY KEY (version, part, name)
) WITHOUT ROWID;
