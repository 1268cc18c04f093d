-- Soft flushes and raised generations: what belongs to their modes.
ALTER TABLE control.flushes
    -- within how many seconds the keys of a soft flush expire
    ADD COLUMN window_s integer,
    -- keys that a soft flush's last look took as a sample; `residue` is how many of these outlive the window
    ADD COLUMN sampled bigint CHECK (sampled >= 0),
    -- what a generation was raised to
    ADD COLUMN generation bigint,
    ADD CONSTRAINT flushes_window CHECK ((mode = 'soft') = ((window_s BETWEEN 10 AND 86400) IS TRUE));
