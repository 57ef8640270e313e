-- Distributed by user_id. Who is being purged: how many rows each store has lost so far, and since when nothing is left
-- but the acknowledgements of those who heard of it.
CREATE TABLE purges (
    user_id    bigint      PRIMARY KEY,
    deleted_at timestamptz NOT NULL,
    began_at   timestamptz NOT NULL,
    rows       jsonb       NOT NULL DEFAULT '{}',
    purged_at  timestamptz
);

-- Distributed by user_id. Which consumers have erased what they kept of somebody who is being purged.
CREATE TABLE acknowledgements (
    user_id         bigint      NOT NULL,
    consumer        text        NOT NULL,
    acknowledged_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, consumer)
);

-- Both in the directory cell only. Names of the purged, as keyed digests: nobody may take them. And the certificates, as
-- they were signed.
CREATE TABLE held_names (
    name_digest bytea       PRIMARY KEY,
    held_since  timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE certificates (
    id           uuid        PRIMARY KEY,
    user_id      bigint      NOT NULL,
    document     text        NOT NULL,
    certified_at timestamptz NOT NULL
);

CREATE INDEX imported_users_user ON imported_users (user_id);
