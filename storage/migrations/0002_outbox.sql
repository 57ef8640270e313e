-- The columns of the Debezium outbox event router, plus what our relay reads by. Insert-only. On Citus this table stays
-- on the coordinator: the transaction ids by which it is read must come from one place.
CREATE TABLE outbox (
    transaction_id xid8        NOT NULL DEFAULT pg_current_xact_id(),
    sequence       bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    id             uuid        NOT NULL,
    aggregatetype  text        NOT NULL,
    aggregateid    text        NOT NULL,
    type           text        NOT NULL,
    payload        jsonb       NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    traceparent    text,
    PRIMARY KEY (transaction_id, sequence)
);
CREATE INDEX outbox_age ON outbox (created_at);

-- Where the relay stands: it publishes the rows of transactions in [low, high) by sequence, and has done so up to
-- `sequence`. `broker` names the life of the broker that has been fed; another life means that it lost its disk.
CREATE TABLE relay_positions (
    name        text        PRIMARY KEY,
    holder      uuid,
    lease_until timestamptz NOT NULL DEFAULT '-infinity',
    low         xid8        NOT NULL DEFAULT '0',
    high        xid8        NOT NULL DEFAULT '0',
    sequence    bigint      NOT NULL DEFAULT 0,
    broker      uuid
);
INSERT INTO relay_positions (name) VALUES ('outbox');
