-- Withdraws what somebody was told that another did, of kinds that hold no longer, and counts it out of its groups: how
-- many groups that were. VOLATILE, so that its statement sees what is committed by then, and not when that began which
-- calls this.
CREATE FUNCTION withdraw_told(told_id bigint, doer_id bigint, ended smallint[])
RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    groups bigint;
BEGIN
    WITH withdrawn AS (
        UPDATE notifications AS n SET withdrawn = true
        WHERE n.owner_id = told_id AND n.actor_id = doer_id AND n.kind = ANY(ended) AND NOT n.withdrawn
        RETURNING n.filtered, n.burst, n.kind, n.sequence, n.read_at
    ), uncounted AS (
        UPDATE notification_groups AS g
        SET total = g.total - w.total,
            unread = g.unread - (SELECT count(*) FROM unnest(w.unread) AS lost (sequence) WHERE lost.sequence > g.read_to)
        FROM (SELECT n.filtered, n.burst, n.kind, count(*) AS total,
                     array_agg(n.sequence) FILTER (WHERE n.read_at IS NULL) AS unread
              FROM withdrawn n GROUP BY n.filtered, n.burst, n.kind ORDER BY n.filtered, n.burst, n.kind) AS w
        WHERE g.owner_id = told_id AND g.filtered = w.filtered AND g.burst = w.burst AND g.kind = w.kind
        RETURNING g.owner_id
    )
    SELECT count(*) INTO groups FROM uncounted;
    RETURN groups;
END
$$;

-- The same for both of a pair, in the order the caller names them, which is that of the locks it holds. Takes the place of
-- 0029's, which said all of it twice.
CREATE OR REPLACE FUNCTION withdraw_told(one_id bigint, another_id bigint, kinds_here smallint[], kinds_there smallint[])
RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN withdraw_told(one_id, another_id, kinds_here) + withdraw_told(another_id, one_id, kinds_there);
END
$$;
