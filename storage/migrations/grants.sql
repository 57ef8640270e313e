-- Run after a migration; every statement may be repeated. `kith_service` is the role of the processes that serve: it may
-- do everything to the rows of every table, but only add to what is append-only. Whoever migrates owns the tables.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'kith_service') THEN
        CREATE ROLE kith_service NOLOGIN;
    END IF;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN NULL;  -- another cell of the same server was faster
    WHEN insufficient_privilege THEN
        RAISE EXCEPTION 'there is no role kith_service, and none may be made: CREATE ROLE kith_service NOLOGIN';
END
$$;
GRANT USAGE ON SCHEMA public TO kith_service;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO kith_service;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO kith_service;
REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON schema_migrations FROM kith_service;
REVOKE UPDATE, DELETE, TRUNCATE ON audit_logs, audit_seals FROM kith_service;
REVOKE UPDATE, TRUNCATE ON consents FROM kith_service;

-- The parts of the outbox by day are made and dropped by these alone, as whoever owns them.
ALTER FUNCTION make_outbox_days(integer) SECURITY DEFINER SET search_path = public, pg_temp;
ALTER FUNCTION drop_outbox_days(interval) SECURITY DEFINER SET search_path = public, pg_temp;
ALTER FUNCTION drop_outbox_strays(interval) SECURITY DEFINER SET search_path = public, pg_temp;
REVOKE EXECUTE ON FUNCTION make_outbox_days(integer), drop_outbox_days(interval), drop_outbox_strays(interval) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION make_outbox_days(integer), drop_outbox_days(interval), drop_outbox_strays(interval) TO kith_service;
