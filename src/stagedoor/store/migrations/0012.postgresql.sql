ALTER TABLE certified_sign_ins ADD COLUMN user_name VARCHAR(64) COLLATE "C";
