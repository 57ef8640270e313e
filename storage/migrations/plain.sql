-- Run after a migration where there is no Citus, whose planner needs to see the values of a statement over many shards.
-- A statement over = ANY($1) with one key would otherwise be planned again at each execution.
DO $$
BEGIN
    EXECUTE format('ALTER DATABASE %I SET plan_cache_mode = force_generic_plan', current_database());
END
$$;
