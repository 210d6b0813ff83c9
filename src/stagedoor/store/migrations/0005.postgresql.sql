ALTER TABLE web_passes ADD COLUMN sign_in BYTEA;
