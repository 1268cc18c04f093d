-- Rollups: what charts read. A batch appends deltas per minute in its own transaction; a leased compactor folds those of closed minutes into the
-- cells of all tiers in one transaction, so a reader that takes cells and deltas in one statement counts each event once. Counters are columns,
-- everything else is bytes that are merged in Rust.
CREATE TABLE events.deltas (
    prefix_id bigint NOT NULL,
    bucket timestamptz NOT NULL,
    origin smallint NOT NULL,
    -- The process that wrote it, and its own count.
    writer bigint NOT NULL,
    seq bigint NOT NULL,
    last_at timestamptz NOT NULL,
    hits bigint,
    misses bigint,
    stale_served bigint,
    access_errors bigint,
    -- Reads and misses of those events alone that measured both, so that a rate never mixes them with others.
    rated_reads bigint NOT NULL,
    rated_misses bigint NOT NULL,
    rebuilds bigint NOT NULL,
    rebuild_errors bigint NOT NULL,
    rebuild_timeouts bigint NOT NULL,
    -- Durations of all rebuilds (domain::sketch); null without any.
    rebuild_sketch bytea,
    invalidations bigint NOT NULL,
    invalidation_errors bigint NOT NULL,
    stale_samples bigint NOT NULL,
    -- Errors by class, stale reads by delay and by read path (domain::event::tally); null without any.
    breakdown bytea,
    PRIMARY KEY (prefix_id, bucket, origin, writer, seq)
);

-- Folded deltas are deleted at once, so the table is small and churns: vacuum it early.
ALTER TABLE events.deltas SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 2000);

CREATE TABLE events.cells (
    prefix_id bigint NOT NULL,
    -- 1 a minute, 2 five minutes, 3 an hour, 4 a day
    tier smallint NOT NULL,
    bucket timestamptz NOT NULL,
    origin smallint NOT NULL,
    last_at timestamptz NOT NULL,
    hits bigint,
    misses bigint,
    stale_served bigint,
    access_errors bigint,
    -- Reads and misses of those events alone that measured both, so that a rate never mixes them with others.
    rated_reads bigint NOT NULL,
    rated_misses bigint NOT NULL,
    rebuilds bigint NOT NULL,
    rebuild_errors bigint NOT NULL,
    rebuild_timeouts bigint NOT NULL,
    -- Durations of all rebuilds (domain::sketch); null without any.
    rebuild_sketch bytea,
    invalidations bigint NOT NULL,
    invalidation_errors bigint NOT NULL,
    stale_samples bigint NOT NULL,
    -- Errors by class, stale reads by delay and by read path (domain::event::tally); null without any.
    breakdown bytea,
    PRIMARY KEY (prefix_id, tier, bucket, origin)
);
