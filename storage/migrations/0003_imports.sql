-- What the bulk import (storage/import_graph.py) remembers. Each table is keyed so that Citus could distribute it by its
-- first key column; all but import_positions are used in the directory cell only, and may stay on its coordinator.

-- Who came from where. `pending_username` is the name that was claimed for an account that is not written yet.
CREATE TABLE imported_users (
    old_id           text   NOT NULL,
    source           text   NOT NULL,
    user_id          bigint NOT NULL,
    run              text   NOT NULL,
    line             bigint NOT NULL,
    pending_username text,
    PRIMARY KEY (old_id, source)
);

-- Imported accounts are numbered, and their ids made of the number: unlike moments, numbers never clash in bulk. They
-- begin where one second of 2020 had passed, so that small numbers stay nobody's id.
CREATE SEQUENCE imported_user_numbers MINVALUE 4096000;

-- A run is one source with one set of files; `people_read` rows of the people have been dealt with.
CREATE TABLE import_runs (
    run           text        PRIMARY KEY,
    started_at    timestamptz NOT NULL DEFAULT now(),
    finished_at   timestamptz,
    people_read   bigint      NOT NULL DEFAULT 0,
    people_loaded bigint      NOT NULL DEFAULT 0,
    loaded        bigint      NOT NULL DEFAULT 0, -- follows, as of the end
    known         bigint      NOT NULL DEFAULT 0
);

CREATE TABLE import_rejects (
    run    text     NOT NULL,
    file   smallint NOT NULL,
    line   bigint   NOT NULL,
    reason text     NOT NULL,
    PRIMARY KEY (run, file, line)
);

-- The follows of one run on their way from the file to the cells, and how much of the file they are. Unlogged both: a
-- crash of the server empties the two together, and the file is read again.
CREATE UNLOGGED TABLE import_staged (
    run          text   PRIMARY KEY,
    follows_read bigint NOT NULL DEFAULT 0
);
CREATE UNLOGGED TABLE import_edges (
    cell        smallint    NOT NULL,
    low_id      bigint      NOT NULL,
    high_id     bigint      NOT NULL,
    direction   smallint    NOT NULL, -- 1: the lower id follows the higher, 2: the higher the lower, 3: both
    line        bigint      NOT NULL,
    followed_at timestamptz NOT NULL,
    PRIMARY KEY (cell, low_id, high_id, direction)
);

-- In every cell: how far its pairs are decided, and how far their other sides are written in other cells.
CREATE TABLE import_positions (
    run           text   PRIMARY KEY,
    low_id        bigint NOT NULL DEFAULT 0,
    high_id       bigint NOT NULL DEFAULT 0,
    mirrored_low  bigint NOT NULL DEFAULT 0,
    mirrored_high bigint NOT NULL DEFAULT 0,
    loaded        bigint NOT NULL DEFAULT 0,
    known         bigint NOT NULL DEFAULT 0
);
