-- A wide flush waits for a second person. What exactly they approve is bound by one hash; the database refuses what the code already does:
-- approving one's own, and starting what was to be approved and was not.
ALTER TABLE control.flushes
    -- SHA-256 over everything that is approved; NULL: no second person is needed
    ADD COLUMN scope_hash         bytea CHECK (octet_length(scope_hash) = 32),
    -- the request is approved before then,
    ADD COLUMN approve_until      timestamptz,
    -- and started before then
    ADD COLUMN start_until        timestamptz,
    ADD COLUMN decision           text CHECK (decision IN ('approved', 'rejected')),
    ADD COLUMN decided_at         timestamptz,
    ADD COLUMN decided_by_id      bigint,
    ADD COLUMN decided_by         text,
    ADD COLUMN decision_reason    text,
    -- one admin alone, and why
    ADD COLUMN break_glass_reason text,
    -- the latest start; what the hourly number counts
    ADD COLUMN begun_at           timestamptz;

UPDATE control.flushes SET begun_at = confirmed_at;

ALTER TABLE control.flushes
    ADD CONSTRAINT flushes_nobody_approves_their_own CHECK (decided_by_id <> author_id),
    ADD CONSTRAINT flushes_decided_by_somebody CHECK (
        (decision IS NULL) = (decided_at IS NULL) AND (decision IS NULL) = (decided_by_id IS NULL) AND (decision IS NULL) = (decided_by IS NULL)),
    ADD CONSTRAINT flushes_wait_with_a_hash CHECK (
        state <> 'awaiting_approval' OR (scope_hash IS NOT NULL AND approve_until IS NOT NULL AND reason IS NOT NULL)),
    ADD CONSTRAINT flushes_start_approved CHECK (
        scope_hash IS NULL
        OR state NOT IN ('approved', 'starting', 'running', 'paused', 'verifying', 'completed', 'completed_with_residue', 'stopped_at_cap',
                         'auto_stopped', 'interrupted')
        OR coalesce(decision = 'approved', false) OR break_glass_reason IS NOT NULL);

DROP INDEX control.flushes_target;
CREATE INDEX flushes_target ON control.flushes (target, begun_at);
-- What waits for a person: looked up for every page.
CREATE INDEX flushes_waiting ON control.flushes (id) WHERE state IN ('awaiting_approval', 'approved');
