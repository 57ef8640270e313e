-- Every table is keyed so that Citus can distribute it by its first key column; every hot statement names that column.

-- Distributed by id. A row is immutable per version; counters live apart, so that a follow never rewrites a profile.
CREATE TABLE users (
    id           bigint      PRIMARY KEY,
    username     text        NOT NULL,
    display_name text,
    bio          text,
    avatar_url   text,
    pronouns     text,
    location     text,
    links        jsonb       NOT NULL DEFAULT '[]',
    policy       text        NOT NULL,
    state        smallint    NOT NULL DEFAULT 1 CHECK (state IN (1, 2, 3)),
    version      bigint      NOT NULL DEFAULT 1,
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL
);

-- Distributed by user_id. `notifications` numbers the owner's notifications in the order of commit.
CREATE TABLE user_counts (
    user_id       bigint PRIMARY KEY,
    followers     bigint NOT NULL DEFAULT 0 CHECK (followers >= 0),
    following     bigint NOT NULL DEFAULT 0 CHECK (following >= 0),
    notifications bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 60);

-- Distributed by name_key, and kept in the directory cell only: a name is unique in one place.
CREATE TABLE usernames (
    name_key   text        PRIMARY KEY,
    user_id    bigint      NOT NULL,
    claimed_at timestamptz NOT NULL
);

-- Distributed by owner_id. A pair has two rows, one on each side; follows: 0 none, 1 pending, 2 active.
CREATE TABLE relationships (
    owner_id         bigint      NOT NULL,
    other_id         bigint      NOT NULL,
    follows          smallint    NOT NULL DEFAULT 0,
    followed_by      smallint    NOT NULL DEFAULT 0,
    follows_at       timestamptz,
    followed_by_at   timestamptz,
    blocks           boolean     NOT NULL DEFAULT false,
    blocked_by       boolean     NOT NULL DEFAULT false,
    blocks_until     timestamptz,
    blocked_by_until timestamptz,
    version          bigint      NOT NULL DEFAULT 0,
    updated_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (owner_id, other_id),
    CHECK (owner_id <> other_id),
    CHECK (NOT ((blocks OR blocked_by) AND (follows <> 0 OR followed_by <> 0)))
);
CREATE INDEX relationships_followers ON relationships (owner_id, followed_by_at DESC, other_id DESC) WHERE followed_by = 2;
CREATE INDEX relationships_following ON relationships (owner_id, follows_at DESC, other_id DESC) WHERE follows = 2;
CREATE INDEX relationships_blocks ON relationships (owner_id, other_id) WHERE blocks OR blocked_by;

-- Distributed by owner_id. The unique event makes the consumer's effect happen once.
CREATE TABLE notifications (
    owner_id   bigint      NOT NULL,
    sequence   bigint      NOT NULL,
    event_id   uuid        NOT NULL,
    kind       smallint    NOT NULL,
    actor_id   bigint      NOT NULL,
    created_at timestamptz NOT NULL,
    read_at    timestamptz,
    PRIMARY KEY (owner_id, sequence),
    UNIQUE (owner_id, event_id)
);
