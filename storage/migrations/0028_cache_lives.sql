-- The lives of Redis servers under which the generation holds, the latest 64. One that is not among them may lack a part
-- of what was told to Redis, and begins a new generation.
ALTER TABLE cache_generations ADD COLUMN redis_lives text[] NOT NULL DEFAULT '{}';
