-- Every judgement of a flush: one for each appointment that was kept, after 1, 5, 15 and 60 minutes.
CREATE TABLE control.verdicts (
    flush_id    bigint NOT NULL,
    after_min   integer NOT NULL,
    judged_at   timestamptz NOT NULL,
    verdict     text NOT NULL CHECK (verdict IN ('recovered', 'not_recovered', 'worse', 'too_little_data')),
    -- with its figures
    judgement   jsonb NOT NULL,
    PRIMARY KEY (flush_id, after_min)
);
