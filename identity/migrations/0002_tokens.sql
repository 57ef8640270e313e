-- Keys that sign tokens. NEXT is published and does not sign yet, RETIRED signs no more and is published until the last
-- token that it signed has ended. The private half is encrypted.
CREATE TABLE signing_keys (
    kid        text        PRIMARY KEY,
    state      text        NOT NULL CHECK (state IN ('NEXT', 'CURRENT', 'RETIRED')),
    public_jwk text        NOT NULL,
    box        bytea       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    retired_at timestamptz CHECK ((retired_at IS NOT NULL) = (state = 'RETIRED'))
);
CREATE UNIQUE INDEX signing_keys_next ON signing_keys (state) WHERE state = 'NEXT';
CREATE UNIQUE INDEX signing_keys_current ON signing_keys (state) WHERE state = 'CURRENT';

-- Browsers that are signed in. The cookie is there as a digest alone.
CREATE TABLE sessions (
    id               uuid        PRIMARY KEY,
    digest           bytea       NOT NULL UNIQUE CHECK (length(digest) = 32),
    account_id       uuid        NOT NULL REFERENCES accounts ON DELETE CASCADE,
    methods          text[]      NOT NULL,
    agent            text        NOT NULL,
    created_at       timestamptz NOT NULL,
    authenticated_at timestamptz NOT NULL,
    seen_at          timestamptz NOT NULL,
    ended_at         timestamptz
);
CREATE INDEX sessions_of_account ON sessions (account_id) WHERE ended_at IS NULL;

-- One for each time that somebody signed in to an application: all tokens that come of it name it as their session.
CREATE TABLE families (
    id               uuid        PRIMARY KEY,
    account_id       uuid        NOT NULL REFERENCES accounts ON DELETE CASCADE,
    session_id       uuid        NOT NULL REFERENCES sessions ON DELETE CASCADE,
    client_id        text        NOT NULL,
    scope            text        NOT NULL,
    authenticated_at timestamptz NOT NULL,
    created_at       timestamptz NOT NULL,
    ended_at         timestamptz
);
CREATE INDEX families_of_account ON families (account_id) WHERE ended_at IS NULL;
CREATE INDEX families_of_session ON families (session_id) WHERE ended_at IS NULL;

CREATE TABLE authorization_codes (
    digest           bytea       PRIMARY KEY CHECK (length(digest) = 32),
    account_id       uuid        NOT NULL REFERENCES accounts ON DELETE CASCADE,
    session_id       uuid        NOT NULL REFERENCES sessions ON DELETE CASCADE,
    client_id        text        NOT NULL,
    redirect_uri     text        NOT NULL,
    scope            text        NOT NULL,
    code_challenge   text        NOT NULL,
    nonce            text,
    authenticated_at timestamptz NOT NULL,
    created_at       timestamptz NOT NULL,
    family_id        uuid        REFERENCES families ON DELETE CASCADE
);
CREATE INDEX authorization_codes_old ON authorization_codes (created_at);
CREATE INDEX authorization_codes_of_account ON authorization_codes (account_id);

-- A lineage of refresh tokens: each is used once, and has one successor.
CREATE TABLE refresh_tokens (
    digest     bytea       PRIMARY KEY CHECK (length(digest) = 32),
    family_id  uuid        NOT NULL REFERENCES families ON DELETE CASCADE,
    generation integer     NOT NULL,
    created_at timestamptz NOT NULL,
    used_at    timestamptz,
    UNIQUE (family_id, generation)
);

-- Families that ended and that the user service has yet to be told of.
CREATE TABLE endings (
    id       bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subject  text        NOT NULL,
    session  text        NOT NULL,
    ended_at timestamptz NOT NULL
);
