-- A person who is purged leaves a tombstone: 4.
ALTER TABLE users DROP CONSTRAINT users_state_check;
ALTER TABLE users ADD CONSTRAINT users_state_check CHECK (state IN (1, 2, 3, 4));

-- Distributed by user_id. Who has deleted the own account, and until when that can be undone; once it is being purged it
-- cannot be any more.
CREATE TABLE deletions (
    user_id          bigint      PRIMARY KEY,
    deleted_at       timestamptz NOT NULL,
    restorable_until timestamptz NOT NULL,
    purging          boolean     NOT NULL DEFAULT false
);
CREATE INDEX deletions_due ON deletions (restorable_until);

-- An archived edge lies in the cell whose row decides about the pair, written in the transaction that cuts the edge:
-- `version` is what the pair came to by it, and a pair that has changed since is not brought back. Whether each of the two
-- was private then tells whether a follow has been forbidden since.
ALTER TABLE archived_edges
    ADD COLUMN version           bigint  NOT NULL DEFAULT 0,
    ADD COLUMN was_private       boolean NOT NULL DEFAULT true,
    ADD COLUMN other_was_private boolean NOT NULL DEFAULT true;
