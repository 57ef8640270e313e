-- Second factors. The secret of the codes is encrypted under the account's key; a step of the clock is used once.
CREATE TABLE totp_factors (
    account_id   uuid        PRIMARY KEY REFERENCES accounts ON DELETE CASCADE,
    secret_box   bytea       NOT NULL,
    last_step    bigint      NOT NULL DEFAULT 0,
    confirmed_at timestamptz,
    created_at   timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE recovery_codes (
    account_id uuid        NOT NULL REFERENCES accounts ON DELETE CASCADE,
    digest     bytea       NOT NULL CHECK (length(digest) = 32),
    used_at    timestamptz,
    PRIMARY KEY (account_id, digest)
);

CREATE TABLE passkeys (
    credential_id bytea       PRIMARY KEY CHECK (length(credential_id) BETWEEN 1 AND 1023),
    account_id    uuid        NOT NULL REFERENCES accounts ON DELETE CASCADE,
    public_key    bytea       NOT NULL,
    sign_count    bigint      NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    used_at       timestamptz
);
CREATE INDEX passkeys_of_account ON passkeys (account_id, created_at);

-- Challenges that were answered, until they would have ended anyway.
CREATE TABLE used_challenges (
    digest  bytea       PRIMARY KEY,
    ends_at timestamptz NOT NULL
);
CREATE INDEX used_challenges_by_end ON used_challenges (ends_at);

-- Who has shown a password and owes a second factor. The digest is that of the browser's token; tries are few.
CREATE TABLE half_sign_ins (
    digest     bytea       PRIMARY KEY CHECK (length(digest) = 32),
    account_id uuid        NOT NULL REFERENCES accounts ON DELETE CASCADE,
    tries      integer     NOT NULL DEFAULT 0,
    ends_at    timestamptz NOT NULL
);
CREATE INDEX half_sign_ins_by_end ON half_sign_ins (ends_at);

-- What a link in a mail is good for, once. A link that was sent where no account is leads nowhere, and has a row as well.
CREATE TABLE mail_links (
    digest         bytea       PRIMARY KEY CHECK (length(digest) = 32),
    purpose        text        NOT NULL CHECK (purpose IN ('RECOVERY', 'EMAIL')),
    account_id     uuid        REFERENCES accounts ON DELETE CASCADE,
    email_digest   bytea,
    email_box      bytea,
    ends_at        timestamptz NOT NULL
);
CREATE INDEX mail_links_of_account ON mail_links (account_id, purpose);
CREATE INDEX mail_links_by_end ON mail_links (ends_at);

-- Mails on their way: what one says is encrypted under a key of its own, which is destroyed once it is sent.
CREATE TABLE mails (
    id             uuid        PRIMARY KEY,
    kind           text        NOT NULL,
    box            bytea,
    wrapped_key    bytea,
    master_version integer,
    tries          integer     NOT NULL DEFAULT 0,
    due_at         timestamptz NOT NULL DEFAULT now(),
    created_at     timestamptz NOT NULL DEFAULT now(),
    sent_at        timestamptz,
    given_up_at    timestamptz
);
CREATE INDEX mails_due ON mails (due_at) WHERE sent_at IS NULL AND given_up_at IS NULL;
