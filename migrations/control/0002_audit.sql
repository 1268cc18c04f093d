-- The record of who did what: a chain of hashes to which rows can only be added, through one function.

CREATE SCHEMA IF NOT EXISTS audit;

CREATE TABLE audit.log (
    seq       bigint PRIMARY KEY CHECK (seq > 0),
    at        timestamptz NOT NULL,
    code      text NOT NULL CHECK (code ~ '^[a-z0-9_]+(\.[a-z0-9_]+)+$'),
    -- actor, target and scope are derived from canonical for searching; verify checks that they agree
    actor     text NOT NULL,
    target    text,
    scope     text,
    -- RFC 8785 JSON, exactly the bytes that were hashed
    canonical bytea NOT NULL,
    prev      bytea NOT NULL UNIQUE CHECK (octet_length(prev) = 32),
    hash      bytea NOT NULL CHECK (octet_length(hash) = 32)
);
CREATE INDEX log_at ON audit.log (at);
CREATE INDEX log_actor ON audit.log (actor, seq);
CREATE INDEX log_code ON audit.log (code, seq);
CREATE INDEX log_target ON audit.log (target, seq) WHERE target IS NOT NULL;

-- Where the chain ends. Appending locks this row, so sequence numbers have no gaps and follow the time.
CREATE TABLE audit.head (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    seq      bigint NOT NULL,
    at       timestamptz NOT NULL,
    hash     bytea NOT NULL CHECK (octet_length(hash) = 32)
);
-- The first record's previous hash is 32 zero bytes.
INSERT INTO audit.head (seq, at, hash) VALUES (0, '1970-01-01T00:00:00Z', decode(repeat('00', 32), 'hex'));

-- One part of what is hashed: its length in 4 bytes, big end first, then its bytes.
CREATE FUNCTION audit.framed(part bytea) RETURNS bytea
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$ SELECT int4send(octet_length(part)) || part $$;

-- Appends one record. Has to be the last statement of its transaction (READ COMMITTED): the head stays locked until the commit.
CREATE FUNCTION audit.append(code text, canonical bytea, OUT seq bigint, OUT at timestamptz, OUT hash bytea)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    head   audit.head%ROWTYPE;
    record jsonb := convert_from(append.canonical, 'UTF8')::jsonb;
BEGIN
    SELECT * INTO STRICT head FROM audit.head FOR UPDATE;
    seq := head.seq + 1;
    -- Not now(): a transaction that began first may get here last.
    at := greatest(head.at, clock_timestamp());
    hash := sha256(
        audit.framed('stalewatch-audit-v1'::bytea)
        || audit.framed(int8send(seq))
        || audit.framed(head.hash)
        || audit.framed(int8send((extract(epoch FROM at) * 1000000)::bigint))
        || audit.framed(convert_to(append.code, 'UTF8'))
        || audit.framed(append.canonical)
    );
    INSERT INTO audit.log AS l (seq, at, code, actor, target, scope, canonical, prev, hash)
    VALUES (
        append.seq, append.at, append.code, record ->> 'actor',
        CASE jsonb_typeof(record -> 'target') WHEN 'string' THEN record ->> 'target' END,
        CASE jsonb_typeof(record -> 'scope') WHEN 'string' THEN record ->> 'scope' END,
        append.canonical, head.hash, append.hash
    );
    UPDATE audit.head AS h SET seq = append.seq, at = append.at, hash = append.hash;
END
$$;

CREATE FUNCTION audit.refuse() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION 'the audit record can only be appended to: % of %.% is refused', TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE TRIGGER log_no_change BEFORE UPDATE OR DELETE ON audit.log FOR EACH ROW EXECUTE FUNCTION audit.refuse();
CREATE TRIGGER log_no_truncate BEFORE TRUNCATE ON audit.log FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse();
CREATE TRIGGER head_no_delete BEFORE DELETE ON audit.head FOR EACH ROW EXECUTE FUNCTION audit.refuse();
CREATE TRIGGER head_no_truncate BEFORE TRUNCATE ON audit.head FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse();
-- ALWAYS: also where session_replication_role is replica.
ALTER TABLE audit.log ENABLE ALWAYS TRIGGER log_no_change, ENABLE ALWAYS TRIGGER log_no_truncate;
ALTER TABLE audit.head ENABLE ALWAYS TRIGGER head_no_delete, ENABLE ALWAYS TRIGGER head_no_truncate;
