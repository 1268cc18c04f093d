-- One-time links by which the first admin of a fresh installation makes their account. Printed on the console of `serve`; only a hash stays here.
CREATE TABLE control.first_run_links (
    -- SHA-256 of the 256-bit token that only the link holds
    token_sha256 bytea PRIMARY KEY CHECK (octet_length(token_sha256) = 32),
    expires_at   timestamptz NOT NULL
);
