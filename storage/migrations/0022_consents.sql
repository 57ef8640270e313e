-- Distributed by owner_id. What a person has agreed to and has refused, one row a decision, in the order of `number`: the
-- newest of a purpose is the one in force. Only added to; a person's rows go whole, with the person.
CREATE TABLE consents (
    owner_id bigint      NOT NULL,
    number   bigint      NOT NULL CHECK (number > 0),
    purpose  smallint    NOT NULL,
    granted  boolean     NOT NULL,
    version  text,
    source   smallint    NOT NULL,
    at       timestamptz NOT NULL,
    PRIMARY KEY (owner_id, number)
);
CREATE INDEX consents_purpose ON consents (owner_id, purpose, number DESC);
-- A browser's signal is stored once.
CREATE UNIQUE INDEX consents_signal ON consents (owner_id) WHERE source = 2;
CREATE TRIGGER consents_rows BEFORE UPDATE ON consents FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER consents_whole BEFORE TRUNCATE ON consents FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
