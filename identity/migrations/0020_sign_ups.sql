-- Who wants an account. The link in the mail is there as a digest alone; what is personal is encrypted under a key of the
-- sign-up's own. ASKED: the address was confirmed, and the user service is asked, under the id `attempt`, to make the
-- person. REFUSED: it did not, and another name is wanted. DONE: the account is there, and nothing personal is here.
CREATE TABLE sign_ups (
    id             uuid        PRIMARY KEY,
    state          text        NOT NULL CHECK (state IN ('WAITING', 'ASKED', 'REFUSED', 'DONE')),
    digest         bytea       NOT NULL UNIQUE CHECK (length(digest) = 32),
    attempt        uuid        NOT NULL UNIQUE,
    email_digest   bytea,
    email_box      bytea,
    username_box   bytea,
    wrapped_key    bytea,
    master_version integer,
    password_hash  text,
    refusal        text,
    created_at     timestamptz NOT NULL,
    ends_at        timestamptz NOT NULL,
    CHECK (state = 'DONE'
           OR (email_digest IS NOT NULL AND email_box IS NOT NULL AND username_box IS NOT NULL
               AND wrapped_key IS NOT NULL AND master_version IS NOT NULL AND password_hash IS NOT NULL))
);
-- One address is one account: of those who confirm it, one at a time is asked for.
CREATE UNIQUE INDEX sign_ups_confirmed ON sign_ups (email_digest) WHERE state IN ('ASKED', 'REFUSED');
CREATE INDEX sign_ups_by_end ON sign_ups (ends_at);

-- What the user service is to be asked, written in the transaction of the fact. subject_id: the sign-up (CREATE), its
-- attempt (TAKE_BACK), or the account (EMAIL).
CREATE TABLE commands (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind       text        NOT NULL CHECK (kind IN ('CREATE', 'TAKE_BACK', 'EMAIL')),
    subject_id uuid        NOT NULL,
    tries      integer     NOT NULL DEFAULT 0,
    due_at     timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX commands_due ON commands (due_at);
CREATE INDEX commands_of_subject ON commands (subject_id);

ALTER TABLE endings
    ADD COLUMN tries      integer     NOT NULL DEFAULT 0,
    ADD COLUMN due_at     timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN created_at timestamptz NOT NULL DEFAULT now();
CREATE INDEX endings_due ON endings (due_at);

-- Whoever changes the address of an account tells the user service by the same transaction.
CREATE FUNCTION tell_email() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO commands (kind, subject_id) VALUES ('EMAIL', NEW.id);
    RETURN NULL;
END
$$;
CREATE TRIGGER accounts_email AFTER UPDATE OF email_digest ON accounts
    FOR EACH ROW WHEN (NEW.state <> 'ERASED' AND OLD.email_digest IS DISTINCT FROM NEW.email_digest)
    EXECUTE FUNCTION tell_email();

-- Whoever waits for something to deliver is woken by the commit.
CREATE FUNCTION ring_courier() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NOTIFY kith_courier;
    RETURN NULL;
END
$$;
CREATE TRIGGER commands_ring AFTER INSERT ON commands FOR EACH STATEMENT EXECUTE FUNCTION ring_courier();
CREATE TRIGGER endings_ring AFTER INSERT ON endings FOR EACH STATEMENT EXECUTE FUNCTION ring_courier();
