-- One row: the generation of everything that is remembered about the people of this cell. A change that could not be
-- told to Redis begins a new generation, and with it nothing is remembered. On Citus it stays on the coordinator.
CREATE TABLE cache_generations (
    singleton  boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    generation bigint  NOT NULL DEFAULT 1
);
INSERT INTO cache_generations DEFAULT VALUES;
