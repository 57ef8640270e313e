-- The e-mail address is the auth service's to change; email_version orders what it says.
ALTER TABLE personal_details
    ADD COLUMN email         bytea,
    ADD COLUMN email_version bigint NOT NULL DEFAULT 0;

-- Distributed by id, in the directory cell only. What the auth service has asked for, once for each of its sign-ups: the
-- id that the person was given before anything else was made, and what came of it (0 not yet known, 1 made, 2 refused).
-- wanted: a keyed digest of the name, so that an id is not used for two names.
CREATE TABLE sign_ups (
    id       uuid        PRIMARY KEY,
    user_id  bigint      NOT NULL,
    wanted   bytea       NOT NULL,
    outcome  smallint    NOT NULL DEFAULT 0 CHECK (outcome IN (0, 1, 2)),
    asked_at timestamptz NOT NULL DEFAULT now()
);

-- Distributed by user_id, written in the transaction that makes the person. made is false where a sign-up was refused:
-- whatever of it is still on its way then finds the row, and makes nobody.
CREATE TABLE sign_up_receipts (
    user_id    bigint  PRIMARY KEY,
    sign_up_id uuid    NOT NULL,
    made       boolean NOT NULL
);
