ALTER TABLE web_passes ADD COLUMN public_key TEXT;
