-- Who can sign in. `subject` is the id by which clients of the user service know the person. What is personal is
-- encrypted under the account's own key, which a master key wraps; the digest finds an e-mail address without telling it.
CREATE TABLE accounts (
    id                uuid        PRIMARY KEY,
    state             text        NOT NULL DEFAULT 'ACTIVE' CHECK (state IN ('ACTIVE', 'BLOCKED', 'ERASED')),
    subject           text        UNIQUE,
    email_digest      bytea       UNIQUE CHECK (length(email_digest) = 32),
    email_box         bytea,
    wrapped_key       bytea,
    master_version    integer,
    email_verified_at timestamptz,
    password_hash     text,
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now(),
    CHECK (state = 'ERASED'
           OR (subject IS NOT NULL AND email_digest IS NOT NULL AND email_box IS NOT NULL
               AND wrapped_key IS NOT NULL AND master_version IS NOT NULL))
);

-- What was done to an account, its factors and its sessions: ids alone, written in the transaction of the fact.
CREATE TABLE identity_events (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT now(),
    kind       text        NOT NULL,
    account_id uuid,
    session_id uuid,
    object_id  text
);
CREATE INDEX identity_events_of_account ON identity_events (account_id, id);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME;
END
$$;
CREATE TRIGGER identity_events_rows BEFORE UPDATE OR DELETE ON identity_events
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER identity_events_whole BEFORE TRUNCATE ON identity_events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
