-- The registry of names; all but username_changes is kept in the directory cell only.

-- A name is claimed (pending) before its holder's profile has it; a former name leads to its holder until it is let go.
-- version: that of the profile which was the last to say what is the current name.
ALTER TABLE usernames
    ADD COLUMN pending       boolean     NOT NULL DEFAULT false,
    ADD COLUMN superseded_at timestamptz,
    ADD COLUMN version       bigint      NOT NULL DEFAULT 0;
CREATE INDEX usernames_holder ON usernames (user_id);
CREATE INDEX usernames_pending ON usernames (claimed_at) WHERE pending;
CREATE INDEX usernames_superseded ON usernames (superseded_at) WHERE superseded_at IS NOT NULL;

-- Distributed by skeleton. Names that look alike are one person's.
CREATE TABLE username_skeletons (
    skeleton text   PRIMARY KEY,
    user_id  bigint NOT NULL
);
-- As domain.usernames.username_skeleton; of two that look alike already, the older one counts, and both stay.
INSERT INTO username_skeletons (skeleton, user_id)
SELECT DISTINCT ON (s.skeleton) s.skeleton, s.user_id
FROM (SELECT replace(replace(translate(name_key, '01i.', 'oll_'), 'rn', 'm'), 'vv', 'w') AS skeleton, user_id, claimed_at
      FROM usernames) AS s
ORDER BY s.skeleton, s.claimed_at
ON CONFLICT (skeleton) DO NOTHING;

-- Distributed by name_digest. Names that their holders let go, by keyed digests of their skeletons: nobody else may have
-- them yet.
CREATE TABLE released_names (
    name_digest bytea       PRIMARY KEY,
    user_id     bigint      NOT NULL,
    held_until  timestamptz NOT NULL
);
CREATE INDEX released_names_until ON released_names (held_until);

-- Distributed by user_id, at the holder's home. When somebody took another name.
CREATE TABLE username_changes (
    user_id    bigint      NOT NULL,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, changed_at)
);
