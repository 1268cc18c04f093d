-- What the weekly review decides: actions with an owner and a due date. Who did what also stands in the audit chain; these rows are what the
-- page lists. An action is closed, never removed.
CREATE TABLE control.review_actions (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    text      text NOT NULL CHECK (octet_length(text) BETWEEN 1 AND 2000),
    -- Whoever does it: a name, not necessarily an account's.
    owner     text NOT NULL CHECK (octet_length(owner) BETWEEN 1 AND 400),
    due       date NOT NULL,
    -- The ISO week whose review it came from, as `2026-W47`.
    week      text NOT NULL CHECK (week ~ '^[0-9]{4}-W[0-5][0-9]$'),
    opened_at timestamptz NOT NULL,
    -- E-mail addresses, as the audit names people.
    opened_by text NOT NULL,
    closed_at timestamptz,
    closed_by text,
    -- What came of it, said on closing.
    outcome   text CHECK (octet_length(outcome) BETWEEN 1 AND 2000),
    CHECK ((closed_at IS NULL) = (closed_by IS NULL)),
    CHECK (outcome IS NULL OR closed_at IS NOT NULL)
);
-- A form that is sent twice adds one action.
CREATE UNIQUE INDEX review_actions_open ON control.review_actions (week, lower(text)) WHERE closed_at IS NULL;
CREATE INDEX review_actions_closed ON control.review_actions (closed_at) WHERE closed_at IS NOT NULL;
