-- Distributed by user_id. The one export of a person's own data: asked for, under way, ready until it expires.
CREATE TABLE exports (
    user_id      bigint      PRIMARY KEY,
    id           uuid        NOT NULL,
    requested_at timestamptz NOT NULL,
    files_done   integer     NOT NULL DEFAULT 0,
    files        integer     NOT NULL,
    archive      bytea,
    expires_at   timestamptz
);
CREATE INDEX exports_open ON exports (requested_at) WHERE archive IS NULL;
CREATE INDEX exports_ended ON exports (expires_at) WHERE expires_at IS NOT NULL;
