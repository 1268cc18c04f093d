-- Events as they were sent, one partition a UTC day. Partitioning by day and not by `at` lets the identity (source, day, id) be a key of each
-- partition; a filter on `at` alone therefore prunes nothing, and every query names `day` too. There is no default partition: days are
-- created ahead, and a day that is too old has none. Further btrees cost a quarter or more of ingest each, so there is only a partial one.
CREATE TABLE events.raw (
    source_id bigint NOT NULL,
    day date NOT NULL,
    -- The event's id if it is a UUID, else the first half of its SHA-256.
    id uuid NOT NULL,
    at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    target_id bigint NOT NULL,
    -- Null for mutations and for annotations that speak of the whole target.
    prefix_id bigint,
    -- 1 access, 2 rebuild, 3 invalidation, 4 mutation, 5 stale_read, 6 annotation
    kind smallint NOT NULL,
    -- 1 app, 2 stream, 3 otlp, 4 probe, 5 keyspace
    origin smallint NOT NULL,
    -- A row that lists on pages show: a failed invalidation, a stale sample, an annotation.
    notable boolean NOT NULL,
    key bytea,
    read_path text,
    -- access; null is not measured, which is not zero
    hits integer,
    misses integer,
    stale_served integer,
    errors integer,
    -- rebuild
    duration_us bigint,
    outcome smallint, -- 1 ok, 2 error, 3 timeout
    cause smallint, -- 1 miss, 2 refresh, 3 write
    source_read_at timestamptz,
    waiters integer,
    error text,
    -- invalidation
    method smallint, -- 1 evict, 2 expire, 3 update, 4 version
    error_class smallint,
    latency_us bigint,
    keys_removed integer,
    mutation_id text,
    key_new bytea,
    ttl_seconds bigint,
    -- mutation
    endpoint text,
    params jsonb,
    -- stale_read
    stale boolean,
    delay_ms bigint,
    cached_version text,
    source_version text,
    -- annotation
    note_kind smallint, -- 1 deploy, 2 incident, 3 config, 4 note
    note text,
    link text,
    CHECK (day = (at AT TIME ZONE 'UTC')::date),
    PRIMARY KEY (source_id, day, id)
) PARTITION BY RANGE (day);

CREATE INDEX raw_at ON events.raw USING brin (at) WITH (autosummarize = on);
CREATE INDEX raw_notable ON events.raw (kind, prefix_id, at) WHERE notable;
-- When a declared write was last seen. Writes are the smallest part of the events.
CREATE INDEX raw_write ON events.raw (target_id, endpoint, at) WHERE kind = 4;
