-- Makes one Citus cluster of the coordinator and the worker of docker-compose.yml; may be run any number of times.
\connect - - citus-worker -
CREATE EXTENSION IF NOT EXISTS citus;

\connect - - citus-coordinator -
CREATE EXTENSION IF NOT EXISTS citus;

SELECT citus_set_coordinator_host('citus-coordinator', 5432)
WHERE NOT EXISTS (SELECT FROM pg_dist_node WHERE groupid = 0 AND nodename = 'citus-coordinator');

SELECT citus_add_node('citus-worker', 5432)
WHERE NOT EXISTS (SELECT FROM pg_dist_node WHERE nodename = 'citus-worker');

SELECT nodename, nodeport, noderole, isactive, shouldhaveshards FROM pg_dist_node ORDER BY groupid;
