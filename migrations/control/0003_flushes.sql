-- Flushes: from the asking to the verdict, one row each. A change of state is committed together with its audit record.

CREATE TABLE control.flushes (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    target          text NOT NULL,
    -- canonical escaped text
    scope           text NOT NULL,
    scope_kind      text NOT NULL CHECK (scope_kind IN ('literal', 'template')),
    mode            text NOT NULL CHECK (mode IN ('version', 'soft', 'flush')),
    pace            text NOT NULL CHECK (pace IN ('fast', 'normal', 'gentle')),
    -- who plans, confirms and starts: a plan belongs to its author
    author_id       bigint NOT NULL,
    author          text NOT NULL,
    author_role     text NOT NULL,
    created_at      timestamptz NOT NULL,

    state           text NOT NULL CHECK (state IN ('planning', 'planned', 'plan_failed', 'expired', 'awaiting_approval', 'approved', 'rejected',
                        'starting', 'running', 'paused', 'verifying', 'completed', 'completed_with_residue', 'stopped_at_cap', 'auto_stopped',
                        'cancelled', 'failed', 'interrupted')),
    state_at        timestamptz NOT NULL,
    -- why it failed or stopped: a stable code, and a sentence
    cause           text,
    cause_detail    text,
    -- moves with every committed change; pages ask with it
    version         bigint NOT NULL DEFAULT 1,

    -- the plan: NULL until the scan has ended
    scanned_at      timestamptz,
    expires_at      timestamptz,
    matched         bigint CHECK (matched >= 0),
    versioned       bigint CHECK (versioned >= 0),
    at_least        boolean NOT NULL DEFAULT false,
    keyspace        bigint CHECK (keyspace >= 0),
    wide            text[] NOT NULL DEFAULT '{}',
    run_id          text,
    -- what is only shown: memory, times to live, prefixes touched, load
    plan            jsonb,
    -- purged after 30 days, never in the audit
    sample_keys     bytea[] NOT NULL DEFAULT '{}',
    samples_purged  boolean NOT NULL DEFAULT false,

    confirmed_at    timestamptz,
    reason          text,
    incident        text,

    -- whoever works on it; reaped once the lease is over. Times by the database's clock.
    lease_epoch     integer NOT NULL DEFAULT 0,
    lease_until     timestamptz,
    -- keys sent at most; write-ahead credit: removed ≤ truth ≤ removed + granted
    cap             bigint,
    granted         bigint NOT NULL DEFAULT 0,
    removed         bigint NOT NULL DEFAULT 0,
    gone            bigint NOT NULL DEFAULT 0,
    failed          bigint NOT NULL DEFAULT 0,
    failed_by_class jsonb NOT NULL DEFAULT '{}',
    scanned         bigint NOT NULL DEFAULT 0,
    started_at      timestamptz,
    cancel_by       text,

    ended_at        timestamptz,
    -- found by the verifying scan; NULL where it was not done or not finished
    residue         bigint,
    proven          boolean NOT NULL DEFAULT false,

    verdict         text CHECK (verdict IN ('recovered', 'not_recovered', 'worse', 'too_little_data')),
    -- the latest judgement, with its figures
    judgement       jsonb,
    verdict_due     timestamptz,

    CHECK ((state IN ('planning', 'plan_failed')) OR matched IS NOT NULL),
    CHECK ((confirmed_at IS NULL) = (reason IS NULL)),
    -- nothing starts without a reason
    CHECK (state NOT IN ('starting', 'running', 'paused', 'verifying', 'completed', 'completed_with_residue') OR reason IS NOT NULL)
);
-- At most one flush of a target removes at any time.
CREATE UNIQUE INDEX flushes_active ON control.flushes (target) WHERE state IN ('starting', 'running', 'paused', 'verifying');
CREATE INDEX flushes_author ON control.flushes (author_id, created_at);
CREATE INDEX flushes_target ON control.flushes (target, confirmed_at);
CREATE INDEX flushes_leased ON control.flushes (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX flushes_planned ON control.flushes (expires_at) WHERE state = 'planned';
CREATE INDEX flushes_due ON control.flushes (verdict_due) WHERE verdict_due IS NOT NULL;
CREATE INDEX flushes_samples ON control.flushes (created_at) WHERE NOT samples_purged;
