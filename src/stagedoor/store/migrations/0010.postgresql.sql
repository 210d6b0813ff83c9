CREATE TABLE certified_sign_ins (
  number BIGINT NOT NULL,
  valid_before FLOAT NOT NULL,
  PRIMARY KEY (number)
);
