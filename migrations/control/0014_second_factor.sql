-- Second factors: an authenticator app for each person who has enrolled one, and recovery codes for the day the phone is lost.
CREATE TABLE control.second_factors (
    user_id      bigint PRIMARY KEY REFERENCES control.users (id) ON DELETE CASCADE,
    -- the app's secret by XChaCha20-Poly1305, bound to the person, under a key that Postgres never sees: nonce, 20 sealed bytes, tag
    sealed       bytea NOT NULL CHECK (octet_length(sealed) = 24 + 20 + 16),
    created_at   timestamptz NOT NULL,
    -- NULL: shown and not yet confirmed by a code, so it does not count
    confirmed_at timestamptz,
    -- the last time step whose code was taken; no code is taken twice, nor one before it
    last_step    bigint NOT NULL DEFAULT 0,
    -- wrong codes in a row, for the throttle
    failures     integer NOT NULL DEFAULT 0 CHECK (failures >= 0),
    failed_at    timestamptz,
    -- what was just made is shown to this session, and until then: the secret before it is confirmed, recovery codes (sealed) after
    shown_to     bigint REFERENCES control.sessions (id) ON DELETE SET NULL,
    shown_until  timestamptz NOT NULL,
    sealed_codes bytea
);

CREATE TABLE control.recovery_codes (
    user_id     bigint NOT NULL REFERENCES control.second_factors (user_id) ON DELETE CASCADE,
    -- SHA-256 over the person's number and the code of 80 bits; a used one is removed
    code_sha256 bytea NOT NULL CHECK (octet_length(code_sha256) = 32),
    PRIMARY KEY (user_id, code_sha256)
);

-- When the second factor was last shown in this session.
ALTER TABLE control.sessions ADD COLUMN factor_shown_at timestamptz;
