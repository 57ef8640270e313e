-- Distributed by user_id. Mutations that their clients may send again: digests of the name the client gave and of what it
-- asked, who is running it until when, and the answer, sealed under a key that only the client's name opens.
CREATE TABLE repeats (
    user_id    bigint      NOT NULL,
    name       bytea       NOT NULL,
    asked      bytea       NOT NULL,
    runner     uuid        NOT NULL,
    runs_until timestamptz NOT NULL,
    answer     bytea,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, name)
);
CREATE INDEX repeats_expired ON repeats (expires_at);

-- Distributed by user_id, in the cell of the effect: which root fields of such a mutation have had theirs. Each row is
-- written in the transaction of the effect itself.
CREATE TABLE repeat_effects (
    user_id    bigint      NOT NULL,
    name       bytea       NOT NULL,
    field      smallint    NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, name, field)
);
CREATE INDEX repeat_effects_expired ON repeat_effects (expires_at);
