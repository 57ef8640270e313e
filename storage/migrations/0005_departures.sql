-- Distributed by user_id. Whose follows are still to be withdrawn, because the person is gone.
CREATE TABLE departures (
    user_id     bigint      PRIMARY KEY,
    departed_at timestamptz NOT NULL DEFAULT now()
);

-- Distributed by user_id. The follows and requests of somebody who is gone, as they were, for a person who comes back.
CREATE TABLE archived_edges (
    user_id        bigint      NOT NULL,
    other_id       bigint      NOT NULL,
    follows        smallint    NOT NULL,
    follows_at     timestamptz,
    followed_by    smallint    NOT NULL,
    followed_by_at timestamptz,
    archived_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, other_id)
);
