-- Withdraws what was told, to each of two people, of what holds no longer between them. The statement that ends it calls
-- this once it holds the locks, and may have waited for them: VOLATILE, so that what whoever held them has told is seen.
CREATE FUNCTION withdraw_told(one_id bigint, another_id bigint, kinds_here smallint[], kinds_there smallint[])
RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    groups bigint;
BEGIN
    WITH withdrawn AS (
        UPDATE notifications AS n SET withdrawn = true
        WHERE n.owner_id = one_id AND n.actor_id = another_id AND n.kind = ANY(kinds_here) AND NOT n.withdrawn
        RETURNING n.filtered, n.burst, n.kind, n.sequence, n.read_at
    ), uncounted AS (
        UPDATE notification_groups AS g
        SET total = g.total - w.total,
            unread = g.unread - (SELECT count(*) FROM unnest(w.unread) AS lost (sequence) WHERE lost.sequence > g.read_to)
        FROM (SELECT n.filtered, n.burst, n.kind, count(*) AS total,
                     array_agg(n.sequence) FILTER (WHERE n.read_at IS NULL) AS unread
              FROM withdrawn n GROUP BY n.filtered, n.burst, n.kind ORDER BY n.filtered, n.burst, n.kind) AS w
        WHERE g.owner_id = one_id AND g.filtered = w.filtered AND g.burst = w.burst AND g.kind = w.kind
        RETURNING g.owner_id
    ), done AS (
        SELECT count(*) AS groups FROM uncounted
    ), withdrawn_there AS (
        UPDATE notifications AS n SET withdrawn = true FROM done
        WHERE n.owner_id = another_id AND n.actor_id = one_id AND n.kind = ANY(kinds_there) AND NOT n.withdrawn
        RETURNING n.filtered, n.burst, n.kind, n.sequence, n.read_at
    ), uncounted_there AS (
        UPDATE notification_groups AS g
        SET total = g.total - w.total,
            unread = g.unread - (SELECT count(*) FROM unnest(w.unread) AS lost (sequence) WHERE lost.sequence > g.read_to)
        FROM (SELECT n.filtered, n.burst, n.kind, count(*) AS total,
                     array_agg(n.sequence) FILTER (WHERE n.read_at IS NULL) AS unread
              FROM withdrawn_there n GROUP BY n.filtered, n.burst, n.kind ORDER BY n.filtered, n.burst, n.kind) AS w
        WHERE g.owner_id = another_id AND g.filtered = w.filtered AND g.burst = w.burst AND g.kind = w.kind
        RETURNING g.owner_id
    )
    SELECT count(*) INTO groups FROM uncounted_there;
    RETURN groups;
END
$$;
