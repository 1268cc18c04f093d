-- What others felt while a flush was at work, the pace in force and the masters' counts, as its pages show them; at the end with worst and median.
ALTER TABLE control.flushes ADD COLUMN watch jsonb;
