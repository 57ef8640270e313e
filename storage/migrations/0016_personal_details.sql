-- Distributed by user_id. What is personal beyond the profile, each value encrypted under the person's own key; without
-- the row of the key it is noise, which is what erasure rests on.
CREATE TABLE data_keys (
    user_id        bigint  PRIMARY KEY,
    wrapped        bytea   NOT NULL,
    master_version integer NOT NULL
);
CREATE INDEX data_keys_master ON data_keys (master_version, user_id);
CREATE TABLE personal_details (
    user_id    bigint PRIMARY KEY,
    phone      bytea,
    birth_date bytea
);
