-- Run after a migration where the Citus extension is present; every statement may be repeated.
-- The triggers that keep the audit log append-only act on one row each, which is what Citus calls unsafe in general.
SET citus.enable_unsafe_triggers = on;
SELECT create_distributed_table(t.name::regclass, t.key, colocate_with => t.with_table)
FROM (VALUES (1, 'users', 'id', 'none'),
             (2, 'user_counts', 'user_id', 'users'),
             (3, 'relationships', 'owner_id', 'users'),
             (4, 'notifications', 'owner_id', 'users'),
             (5, 'user_count_slots', 'user_id', 'users'),
             (6, 'audit_logs', 'actor_id', 'users'),
             (7, 'request_resolutions', 'owner_id', 'users'),
             (8, 'departures', 'user_id', 'users'),
             (9, 'archived_edges', 'user_id', 'users'),
             (10, 'usernames', 'name_key', 'none'),
             (11, 'notification_groups', 'owner_id', 'users'),
             (12, 'notification_trims', 'owner_id', 'users'),
             (13, 'notification_preferences', 'owner_id', 'users'),
             (14, 'inbox', 'owner_id', 'users'),
             (15, 'deletions', 'user_id', 'users'),
             (16, 'revocations', 'user_id', 'users'),
             (17, 'purges', 'user_id', 'users'),
             (18, 'acknowledgements', 'user_id', 'users'),
             (19, 'data_keys', 'user_id', 'users'),
             (20, 'personal_details', 'user_id', 'users'),
             (21, 'exports', 'user_id', 'users'),
             (22, 'username_changes', 'user_id', 'users'),
             (23, 'username_skeletons', 'skeleton', 'none'),
             (24, 'released_names', 'name_digest', 'none'),
             (25, 'consents', 'owner_id', 'users'),
             (26, 'sign_ups', 'id', 'none'),
             (27, 'sign_up_receipts', 'user_id', 'users'),
             (28, 'repeats', 'user_id', 'users'),
             (29, 'repeat_effects', 'user_id', 'users')) AS t (position, name, key, with_table)
WHERE NOT EXISTS (SELECT FROM pg_dist_partition p WHERE p.logicalrelid = t.name::regclass)
ORDER BY t.position;
