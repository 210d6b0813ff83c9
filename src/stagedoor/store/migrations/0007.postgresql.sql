ALTER TABLE web_passes ADD COLUMN latest_end FLOAT;
ALTER TABLE web_passes ADD COLUMN renewed_at FLOAT;
