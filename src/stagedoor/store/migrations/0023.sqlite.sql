ALTER TABLE request_rules ADD COLUMN later_approvers TEXT;
ALTER TABLE request_rules ADD COLUMN later_s FLOAT;
ALTER TABLE access_requests ADD COLUMN starts_at FLOAT;
