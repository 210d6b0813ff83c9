ALTER TABLE users ADD COLUMN owner_set VARCHAR(64);
ALTER TABLE users ADD COLUMN owner_file TEXT;
ALTER TABLE user_groups ADD COLUMN owner_set VARCHAR(64);
ALTER TABLE user_groups ADD COLUMN owner_file TEXT;
ALTER TABLE grants ADD COLUMN owner_set VARCHAR(64);
ALTER TABLE grants ADD COLUMN owner_file TEXT;
ALTER TABLE request_rules ADD COLUMN owner_set VARCHAR(64);
ALTER TABLE request_rules ADD COLUMN owner_file TEXT;
