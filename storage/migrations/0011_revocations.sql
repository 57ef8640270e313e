-- Distributed by user_id. Tokens that are refused before they end. kind: 1 those of the session `name`, 2 the one of the
-- id `name`, 3 all that were issued before revoked_at. After ends_at none of them could be alive; upkeep removes the row.
CREATE TABLE revocations (
    user_id     bigint      NOT NULL,
    kind        smallint    NOT NULL CHECK (kind IN (1, 2, 3)),
    name        text        NOT NULL,
    revoked_at  timestamptz NOT NULL,
    ends_at     timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, kind, name)
);
CREATE INDEX revocations_recorded ON revocations (recorded_at);
CREATE INDEX revocations_ended ON revocations (ends_at);
