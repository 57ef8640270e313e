-- The version at which each direction of a pair last changed its state: whether a fact that arrives late still holds.
-- 0 where that was before it was kept.
ALTER TABLE relationships
    ADD COLUMN follows_version bigint NOT NULL DEFAULT 0,
    ADD COLUMN followed_by_version bigint NOT NULL DEFAULT 0;

-- The burst that the next notification joins: the second at which its day begins, plus the times its owner has read all
-- since. It never falls, so that a burst is a stretch of numbers.
ALTER TABLE user_counts ADD COLUMN notifications_burst bigint NOT NULL DEFAULT 0;

-- `withdrawn`: what the row tells no longer holds; the row stays, so that its event is not told again.
ALTER TABLE notifications
    ADD COLUMN burst bigint NOT NULL DEFAULT 0,
    ADD COLUMN filtered boolean NOT NULL DEFAULT false,
    ADD COLUMN withdrawn boolean NOT NULL DEFAULT false;
-- What is there is one burst, as if it had come today.
UPDATE notifications SET burst = extract(epoch FROM date_trunc('day', now(), 'UTC'))::bigint;
UPDATE notifications n SET withdrawn = true
WHERE NOT EXISTS (
    SELECT FROM relationships r
    WHERE r.owner_id = n.owner_id AND r.other_id = n.actor_id
      AND CASE n.kind WHEN 1 THEN r.followed_by = 2 WHEN 2 THEN r.followed_by = 1 ELSE r.follows = 2 END
);
CREATE INDEX notifications_live ON notifications (owner_id, sequence) WHERE NOT withdrawn AND NOT filtered;
CREATE INDEX notifications_grouped ON notifications (owner_id, filtered, burst, kind, sequence) WHERE NOT withdrawn;
CREATE INDEX notifications_actors ON notifications (owner_id, actor_id) WHERE NOT withdrawn;

-- Distributed by owner_id. The notifications of one kind in one burst, counted as they come and are withdrawn. A row is
-- read when its own `read_at` says so, or its number is at most its group's `read_to`.
CREATE TABLE notification_groups (
    owner_id bigint   NOT NULL,
    filtered boolean  NOT NULL,
    burst    bigint   NOT NULL,
    kind     smallint NOT NULL,
    total    bigint   NOT NULL CHECK (total >= 0),
    unread   bigint   NOT NULL CHECK (unread >= 0),
    read_to  bigint   NOT NULL DEFAULT 0,
    read_at  timestamptz,
    PRIMARY KEY (owner_id, filtered, burst, kind)
);
CREATE INDEX notification_groups_age ON notification_groups (burst);
INSERT INTO notification_groups (owner_id, filtered, burst, kind, total, unread)
SELECT owner_id, false, burst, kind, count(*), count(*) FILTER (WHERE read_at IS NULL)
FROM notifications WHERE NOT withdrawn GROUP BY owner_id, burst, kind;

-- Distributed by owner_id. Who has more notifications than are kept, and when to look at them.
CREATE TABLE notification_trims (
    owner_id bigint      PRIMARY KEY,
    due_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX notification_trims_due ON notification_trims (due_at);

-- Distributed by owner_id. What becomes of notifications, by what their actor is to the owner: 1 shown, 2 shown apart,
-- 3 not kept at all. Without a row everything is shown.
CREATE TABLE notification_preferences (
    owner_id         bigint   PRIMARY KEY,
    followed         smallint NOT NULL CHECK (followed IN (1, 2, 3)),
    strangers        smallint NOT NULL CHECK (strangers IN (1, 2, 3)),
    new_accounts     smallint NOT NULL CHECK (new_accounts IN (1, 2, 3)),
    new_account_days integer  NOT NULL CHECK (new_account_days BETWEEN 1 AND 365),
    version          bigint   NOT NULL
);
