-- A flush that was cut off goes on under the same number. Its counts go on too, and so does what nobody knows: keys that an earlier run may
-- have removed after its last row. `granted` always holds that and the credit of the run at work, so removed ≤ truth ≤ removed + granted.
ALTER TABLE control.flushes
    -- the part of granted that earlier runs left behind
    ADD COLUMN carried bigint NOT NULL DEFAULT 0 CHECK (carried >= 0),
    ADD COLUMN resumed integer NOT NULL DEFAULT 0 CHECK (resumed >= 0);
