DROP TABLE watch_rules;
ALTER TABLE grants DROP CONSTRAINT grants_subject_app_pattern_environment_pattern_key;
UPDATE grants SET environment_pattern = substr(environment_pattern, 2) WHERE substr(environment_pattern, 1, 1) = '!' AND strpos(permissions, 'enter') = 0;
UPDATE meta SET value = 11 WHERE name = 'compatible_version';
