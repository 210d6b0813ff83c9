DROP TABLE watch_rules;
CREATE TABLE grants_13 (
  id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  subject VARCHAR(80) NOT NULL,
  app_pattern VARCHAR(128) NOT NULL,
  environment_pattern VARCHAR(128) NOT NULL,
  expires_at FLOAT,
  created_at FLOAT NOT NULL,
  permissions TEXT DEFAULT 'enter files' NOT NULL
);
INSERT INTO grants_13 SELECT id, subject, app_pattern, CASE WHEN substr(environment_pattern, 1, 1) = '!' AND instr(permissions, 'enter') = 0 THEN substr(environment_pattern, 2) ELSE environment_pattern END, expires_at, created_at, permissions FROM grants;
DELETE FROM sqlite_sequence WHERE name = 'grants_13';
INSERT INTO sqlite_sequence (name, seq) SELECT 'grants_13', seq FROM sqlite_sequence WHERE name = 'grants';
DROP TABLE grants;
ALTER TABLE grants_13 RENAME TO grants;
UPDATE meta SET value = 11 WHERE name = 'compatible_version';
