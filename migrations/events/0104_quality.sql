-- How far the figures can be trusted: what was taken in and refused, and when nobody could see.

-- Events by source, five minutes and what became of them: `accepted`, `duplicate`, or the code of the rejection.
CREATE TABLE events.intake (
    source_id bigint NOT NULL,
    bucket timestamptz NOT NULL,
    code text NOT NULL,
    n bigint NOT NULL,
    PRIMARY KEY (source_id, bucket, code)
);

-- Spans in which events may be missing. Target 0 is all of them.
CREATE TABLE events.gaps (
    target_id bigint NOT NULL,
    from_at timestamptz NOT NULL,
    to_at timestamptz NOT NULL,
    why text NOT NULL,
    PRIMARY KEY (target_id, from_at, why)
);

-- Each process that takes events in says so every few seconds; a hole between two of them is a gap.
CREATE TABLE events.heartbeats (
    writer bigint PRIMARY KEY,
    started_at timestamptz NOT NULL,
    beat_at timestamptz NOT NULL
);
