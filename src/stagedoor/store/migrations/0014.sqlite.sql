ALTER TABLE provider_answers ADD COLUMN failure TEXT;
ALTER TABLE provider_answers ADD COLUMN failed_at FLOAT;
