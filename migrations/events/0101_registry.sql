-- What events speak about: targets, prefixes, sources and read paths. The configuration file is the authority; these rows give its names the
-- numbers that events carry. A number is computed from the name (the first 63 bits of a SHA-256), so that every replica finds the same one
-- without asking, and no table needs a serial. Nothing here refers to the control schema.
CREATE SCHEMA IF NOT EXISTS events;

CREATE TABLE events.targets (
    target_id bigint PRIMARY KEY,
    name text NOT NULL,
    first_seen_at timestamptz NOT NULL
);

CREATE TABLE events.prefixes (
    prefix_id bigint PRIMARY KEY,
    target_id bigint NOT NULL,
    -- The template as registered, or `unclassified` or `overflow`, of which each target has one.
    name text NOT NULL,
    registered boolean NOT NULL,
    first_seen_at timestamptz NOT NULL
);

CREATE TABLE events.sources (
    source_id bigint PRIMARY KEY,
    name text NOT NULL,
    first_seen_at timestamptz NOT NULL,
    -- When it last sent anything that was accepted, and the newest instant it spoke of.
    last_seen_at timestamptz NOT NULL,
    last_event_at timestamptz NOT NULL,
    -- How far the newest event of its last batch lay behind its arrival.
    lag_ms bigint NOT NULL
);

-- The names of read paths that one prefix may carry: 50, then `other`.
CREATE TABLE events.read_paths (
    prefix_id bigint NOT NULL,
    name text NOT NULL,
    PRIMARY KEY (prefix_id, name)
);

-- Work that one process at a time may do. The epoch fences a holder that was away too long; the clock is the database's.
CREATE TABLE events.leases (
    name text PRIMARY KEY,
    holder bigint NOT NULL,
    epoch bigint NOT NULL,
    expires_at timestamptz NOT NULL
);
