-- The outbox by days, so that what is old is dropped whole and no row is ever updated or deleted; and by a hash of the
-- key, so that several relays share the work. The hash is the one by which PostgreSQL itself would partition.
-- Rows that waited before stay in the table they are in, which becomes the first part.
ALTER TABLE outbox RENAME TO outbox_first;
ALTER TABLE outbox_first DROP CONSTRAINT outbox_pkey;
DROP INDEX outbox_age;
ALTER TABLE outbox_first
    ALTER COLUMN sequence DROP IDENTITY,
    ADD COLUMN partition smallint NOT NULL GENERATED ALWAYS AS ((hashtextextended(aggregateid, 0) & 7)::smallint) STORED;

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
    partition      smallint    NOT NULL GENERATED ALWAYS AS ((hashtextextended(aggregateid, 0) & 7)::smallint) STORED
) PARTITION BY RANGE (created_at);
CREATE INDEX outbox_horizon ON outbox (partition, transaction_id, sequence);
CREATE INDEX outbox_order ON outbox (partition, sequence);
CREATE INDEX outbox_keys ON outbox (aggregateid, sequence);

SELECT setval(pg_get_serial_sequence('outbox', 'sequence'), max(sequence)) FROM outbox_first HAVING max(sequence) > 0;
ALTER TABLE outbox ATTACH PARTITION outbox_first
    FOR VALUES FROM (MINVALUE) TO (date_trunc('day', now(), 'UTC') + interval '24 hours');

-- Takes what no day was made for, so that no insert ever fails; a row in it is an alarm.
CREATE TABLE outbox_strays PARTITION OF outbox DEFAULT;

CREATE VIEW outbox_days AS
SELECT c.relname AS name,
       coalesce(substring(b.bounds FROM 'FROM \(''([^'']+)''\)')::timestamptz, '-infinity') AS since,
       substring(b.bounds FROM 'TO \(''([^'']+)''\)')::timestamptz AS until
FROM pg_inherits i
JOIN pg_class c ON c.oid = i.inhrelid
CROSS JOIN LATERAL (SELECT pg_get_expr(c.relpartbound, c.oid) AS bounds) b
WHERE i.inhparent = 'outbox'::regclass AND b.bounds <> 'DEFAULT';

-- Makes today and the days that follow. A day that has strays is left to them: they would have to be moved.
-- Attaching, unlike creating in place, lets inserts go on.
CREATE FUNCTION make_outbox_days(days integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    made    integer := 0;
    day     timestamptz;
    day_end timestamptz;
    name    text;
BEGIN
    PERFORM pg_advisory_xact_lock('outbox'::regclass::oid::bigint);
    FOR n IN 0 .. days LOOP
        day := date_trunc('day', now(), 'UTC') + n * interval '24 hours';
        day_end := day + interval '24 hours';
        name := 'outbox_' || to_char(day AT TIME ZONE 'UTC', 'YYYYMMDD');
        CONTINUE WHEN EXISTS (SELECT FROM outbox_days d WHERE d.since < day_end AND d.until > day)
                   OR EXISTS (SELECT FROM outbox_strays s WHERE s.created_at >= day AND s.created_at < day_end);
        EXECUTE format('CREATE TABLE %I (LIKE outbox INCLUDING DEFAULTS INCLUDING GENERATED)', name);
        EXECUTE format('ALTER TABLE outbox ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', name, day, day_end);
        made := made + 1;
    END LOOP;
    RETURN made;
END
$$;

-- One position, lease and holder for each partition of keys. `refeed_to` is the last number that a lost life of the
-- broker may have had; what is below `refeed_from` is still to be fed to the present one, the newest keys first.
ALTER TABLE relay_positions
    ADD COLUMN partition   smallint UNIQUE,
    ADD COLUMN refeed_from bigint NOT NULL DEFAULT 0,
    ADD COLUMN refeed_to   bigint NOT NULL DEFAULT 0;
INSERT INTO relay_positions (name, partition, low, high, sequence, broker)
SELECT 'outbox ' || n, n, low, high, sequence, broker FROM relay_positions, generate_series(0, 7) n WHERE name = 'outbox';
DELETE FROM relay_positions WHERE name = 'outbox';
ALTER TABLE relay_positions ALTER COLUMN partition SET NOT NULL;

-- The relays that live, by which each knows its share of the partitions.
CREATE TABLE relay_members (
    holder     uuid        PRIMARY KEY,
    seen_until timestamptz NOT NULL
);

-- Keys of which the broker refuses a row for good: this row and those after it wait until an operator has decided.
CREATE TABLE outbox_quarantine (
    aggregateid text        PRIMARY KEY,
    partition   smallint    NOT NULL,
    sequence    bigint      NOT NULL,
    event_id    uuid        NOT NULL,
    type        text        NOT NULL,
    reason      text        NOT NULL,
    since       timestamptz NOT NULL DEFAULT now(),
    retry       boolean     NOT NULL DEFAULT false
);
-- Rows that an operator has given up.
CREATE TABLE outbox_skipped (
    sequence    bigint      PRIMARY KEY,
    partition   smallint    NOT NULL,
    aggregateid text        NOT NULL,
    event_id    uuid        NOT NULL,
    skipped_at  timestamptz NOT NULL DEFAULT now()
);

-- Whether a part of the outbox holds a row that some position has not passed, or that waits in quarantine.
CREATE FUNCTION is_outbox_part_needed(name text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    needed boolean;
BEGIN
    EXECUTE format($sql$
        SELECT EXISTS (SELECT FROM relay_positions p JOIN %1$I o ON o.partition = p.partition
                       WHERE o.transaction_id >= p.low AND (o.transaction_id >= p.high OR o.sequence > p.sequence))
            OR EXISTS (SELECT FROM outbox_quarantine q JOIN %1$I o ON o.aggregateid = q.aggregateid
                       WHERE o.sequence >= q.sequence)
    $sql$, name) INTO needed;
    RETURN needed;
END
$$;

-- Drops the days that ended before the retention and are published whole.
-- Whoever writes has to wait for a drop, so that one that does not get its locks at once is left to the next time; under
-- the locks nobody writes, and the second look is the one that counts.
CREATE FUNCTION drop_outbox_days(retention interval) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    dropped integer := 0;
    day     text;
BEGIN
    PERFORM set_config('lock_timeout', '200ms', true);
    FOR day IN SELECT d.name FROM outbox_days d WHERE d.until <= now() - retention ORDER BY d.until LOOP
        CONTINUE WHEN is_outbox_part_needed(day);
        BEGIN
            LOCK TABLE ONLY outbox IN ACCESS EXCLUSIVE MODE;
            EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', day);
            CONTINUE WHEN is_outbox_part_needed(day);
            EXECUTE format('DROP TABLE %I', day);
            dropped := dropped + 1;
        EXCEPTION WHEN lock_not_available THEN
            RETURN dropped;
        END;
    END LOOP;
    RETURN dropped;
END
$$;

-- Empties the table of strays by the same rule.
CREATE FUNCTION drop_outbox_strays(retention interval) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT max(created_at) < now() - retention FROM outbox_strays) THEN
        PERFORM set_config('lock_timeout', '200ms', true);
        LOCK TABLE outbox_strays IN ACCESS EXCLUSIVE MODE;
        IF (SELECT max(created_at) < now() - retention FROM outbox_strays)
           AND NOT is_outbox_part_needed('outbox_strays') THEN
            TRUNCATE outbox_strays;
            RETURN true;
        END IF;
    END IF;
    RETURN false;
EXCEPTION WHEN lock_not_available THEN
    RETURN false;
END
$$;

SELECT make_outbox_days(2);
