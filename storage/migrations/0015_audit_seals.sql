-- In which session something was done, digests of what was there before and after, and where the row stands among all
-- of its cell: by transaction, so that writers need not wait for each other. Rows from before this are the first.
ALTER TABLE audit_logs
    ADD COLUMN session text,
    ADD COLUMN before bytea,
    ADD COLUMN after bytea,
    ADD COLUMN transaction_id xid8 NOT NULL DEFAULT '0';
ALTER TABLE audit_logs ALTER COLUMN transaction_id SET DEFAULT pg_current_xact_id();
CREATE INDEX audit_logs_order ON audit_logs (transaction_id, actor_id, id);

-- Not distributed. Each seal covers the rows up to a place, one digest a row in `leaves`, and holds the root of the one
-- before it. The place is that of its last row.
CREATE TABLE audit_seals (
    number         bigint      PRIMARY KEY,
    transaction_id xid8        NOT NULL,
    actor_id       bigint      NOT NULL,
    row_id         bigint      NOT NULL,
    leaves         bytea       NOT NULL,
    root           bytea       NOT NULL,
    signature      bytea       NOT NULL,
    sealed_at      timestamptz NOT NULL DEFAULT now()
);
CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME;
END
$$;
CREATE TRIGGER audit_seals_rows BEFORE UPDATE OR DELETE ON audit_seals FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_seals_whole BEFORE TRUNCATE ON audit_seals FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
