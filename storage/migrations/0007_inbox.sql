-- Distributed by owner_id, so that a row lies beside the effect it is written with. Which facts a consumer has had its
-- effect of, for effects that do not show by themselves which fact they are of.
CREATE TABLE inbox (
    owner_id bigint      NOT NULL,
    consumer text        NOT NULL,
    event_id uuid        NOT NULL,
    had_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (owner_id, consumer, event_id)
);
CREATE INDEX inbox_age ON inbox (had_at);

-- Used in the directory cell only, where it may stay on a coordinator: records that a consumer could do nothing with, for
-- somebody to look at. `id` is made of what the record is, so that one that comes again is one row.
CREATE TABLE dead_letters (
    id            uuid        PRIMARY KEY,
    consumer      text        NOT NULL,
    topic         text        NOT NULL,
    partition     integer     NOT NULL,
    record_offset bigint      NOT NULL,
    key           bytea,
    headers       bytea       NOT NULL,
    value         bytea,
    size          integer     NOT NULL,
    is_whole      boolean     NOT NULL,
    reason        text        NOT NULL,
    died_at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX dead_letters_age ON dead_letters (died_at, id);
