-- Who gets in: people, their sessions, the tokens of programs, and what the throttle remembers.
-- No other secret than a hash is stored here.

CREATE SCHEMA IF NOT EXISTS control;

CREATE TABLE control.users (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email               text NOT NULL CHECK (octet_length(email) BETWEEN 3 AND 254 AND email = btrim(email)),
    name                text NOT NULL CHECK (octet_length(name) BETWEEN 1 AND 200),
    role                text NOT NULL CHECK (role IN ('viewer', 'operator', 'approver', 'auditor', 'admin')),
    -- argon2id in PHC form
    password_hash       text NOT NULL,
    created_at          timestamptz NOT NULL,
    password_changed_at timestamptz NOT NULL,
    disabled_at         timestamptz
);
-- An address is one person whatever its case.
CREATE UNIQUE INDEX users_email ON control.users (lower(email));

CREATE TABLE control.sessions (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- SHA-256 of the 256-bit token that only the cookie holds
    token_sha256 bytea NOT NULL UNIQUE CHECK (octet_length(token_sha256) = 32),
    user_id      bigint NOT NULL REFERENCES control.users (id) ON DELETE CASCADE,
    created_at   timestamptz NOT NULL,
    last_seen_at timestamptz NOT NULL,
    address      text NOT NULL,
    user_agent   text NOT NULL
);
CREATE INDEX sessions_user ON control.sessions (user_id);

-- Tokens of programs: `sw_in_<id>_<secret>` sends events, `sw_rd_<id>_<secret>` reads figures.
CREATE TABLE control.tokens (
    id            text PRIMARY KEY CHECK (id ~ '^[a-z0-9]{8,32}$'),
    kind          text NOT NULL CHECK (kind IN ('ingest', 'read')),
    source        text NOT NULL CHECK (octet_length(source) BETWEEN 1 AND 100),
    -- NULL: any target
    target        text,
    secret_sha256 bytea NOT NULL CHECK (octet_length(secret_sha256) = 32),
    created_at    timestamptz NOT NULL,
    created_by    text NOT NULL,
    expires_at    timestamptz,
    last_used_at  timestamptz,
    revoked_at    timestamptz
);
CREATE INDEX tokens_source ON control.tokens (source);

-- Failed sign-ins stay out of the audit chain, so that nobody outside can fill or slow it; a summary row goes there every 5 minutes.
-- What was typed as e-mail is kept as a hash only: people type passwords into the wrong field. Kept for 90 days.
CREATE TABLE control.failed_sign_ins (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at             timestamptz NOT NULL,
    account_sha256 bytea NOT NULL CHECK (octet_length(account_sha256) = 32),
    -- NULL: no such account
    user_id        bigint REFERENCES control.users (id) ON DELETE SET NULL,
    address        text NOT NULL,
    reason         text NOT NULL CHECK (reason IN ('wrong_password', 'unknown_account', 'disabled', 'too_many', 'cross_site'))
);
CREATE INDEX failed_sign_ins_account ON control.failed_sign_ins (account_sha256, at);
CREATE INDEX failed_sign_ins_at ON control.failed_sign_ins (at);

-- The token bucket of each address that failed lately.
CREATE TABLE control.sign_in_addresses (
    address    text PRIMARY KEY,
    tokens     double precision NOT NULL,
    updated_at timestamptz NOT NULL
);

-- Audit records that may not hold up what they tell of (sign-ins): written in that transaction, moved into the chain right after.
CREATE TABLE control.audit_queue (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    queued_at timestamptz NOT NULL,
    code      text NOT NULL,
    record    bytea NOT NULL
);

-- Up to where failed sign-ins are told of in the chain.
CREATE TABLE control.sign_in_summary (
    only_row   boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    told_up_to bigint NOT NULL
);
INSERT INTO control.sign_in_summary (told_up_to) VALUES (0);
