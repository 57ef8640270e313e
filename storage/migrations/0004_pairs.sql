-- A mute is its owner's own affair: it is never mirrored, and the pair's version does not count it. Blocks and mutes are
-- listed by times of their own: that of the row moves with whatever the other does.
ALTER TABLE relationships
    ADD COLUMN mutes boolean NOT NULL DEFAULT false,
    ADD COLUMN mutes_until timestamptz,
    ADD COLUMN mutes_since timestamptz,
    ADD COLUMN blocks_since timestamptz,
    ADD COLUMN blocked_by_since timestamptz;
UPDATE relationships SET blocks_since = CASE WHEN blocks THEN updated_at END,
                         blocked_by_since = CASE WHEN blocked_by THEN updated_at END
WHERE blocks OR blocked_by;

CREATE INDEX relationships_requests ON relationships (owner_id, followed_by_at DESC, other_id DESC) WHERE followed_by = 1;
CREATE INDEX relationships_asked ON relationships (owner_id, follows_at DESC, other_id DESC) WHERE follows = 1;
CREATE INDEX relationships_blocked ON relationships (owner_id, blocks_since DESC, other_id DESC) WHERE blocks;
CREATE INDEX relationships_muted ON relationships (owner_id, mutes_since DESC, other_id DESC) WHERE mutes;

-- What the upkeep job looks for, over all owners of a cell.
CREATE INDEX relationships_lapsing_blocks ON relationships (blocks_until) WHERE blocks AND blocks_until IS NOT NULL;
CREATE INDEX relationships_lapsing_mutes ON relationships (mutes_until) WHERE mutes AND mutes_until IS NOT NULL;
CREATE INDEX relationships_waiting ON relationships (follows_at) WHERE follows = 1;

-- Distributed by user_id. Above a threshold the followers of one person are counted in slots, so that a crowd that
-- follows at once does not queue behind one row; the counter is always the row plus its slots.
CREATE TABLE user_count_slots (
    user_id   bigint   NOT NULL,
    slot      smallint NOT NULL,
    followers bigint   NOT NULL,
    PRIMARY KEY (user_id, slot)
);
ALTER TABLE user_counts ADD COLUMN slotted boolean NOT NULL DEFAULT false;

-- Distributed by actor_id. Who did what to whom, ids only; nobody may change or remove a row.
CREATE TABLE audit_logs (
    actor_id  bigint      NOT NULL,
    id        bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    at        timestamptz NOT NULL DEFAULT now(),
    action    text        NOT NULL,
    target_id bigint,
    version   bigint,
    PRIMARY KEY (actor_id, id)
);
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit_logs is append-only';
END
$$;
CREATE TRIGGER audit_logs_rows BEFORE UPDATE OR DELETE ON audit_logs FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_logs_whole BEFORE TRUNCATE ON audit_logs FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Distributed by owner_id. What an account that went public decided about the requests that wait.
CREATE TABLE request_resolutions (
    owner_id   bigint      PRIMARY KEY,
    accept     boolean     NOT NULL,
    decided_at timestamptz NOT NULL DEFAULT now()
);

-- Which process does a job of this cell now.
CREATE TABLE leases (
    name        text        PRIMARY KEY,
    holder      uuid        NOT NULL,
    lease_until timestamptz NOT NULL
);
